"""One small artifact, and a server of it in a process of its own."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from farthing.artifact import Artifact
from farthing.testing.artifacts import lookup


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return lookup(tmp_path_factory.mktemp("lookup"), batch_size=8, batch_delay_s=0.005)


@dataclass
class Server:
    process: subprocess.Popen[str]
    port: int
    told: list[str] = field(default_factory=list)  # lines since it was ready
    reader: threading.Thread | None = None  # a pipe that nobody reads fills up, and the server waits

    def listen(self) -> None:
        assert self.process.stdout is not None
        self.reader = threading.Thread(target=self.told.extend, args=(self.process.stdout,), daemon=True)
        self.reader.start()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body)
            connection.request(method, path, data, {key.replace("_", "-"): value for key, value in headers.items()})
            response = connection.getresponse()
            raw = response.read()
            kind = response.headers.get("content-type", "")
            told = json.loads(raw) if kind == "application/json" and raw else raw
            return response.status, told, {key.lower(): value for key, value in response.headers.items()}
        finally:
            connection.close()

    def predict(self, body: Any, **headers: str) -> tuple[int, Any]:
        return self.ask("POST", "/v1/predict", body, **headers)[:2]

    def replicas(self) -> list[int]:
        """Processes of the replicas."""
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True).stdout
        found = []
        for pid in listed.split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                if b"farthing.pooling.replica" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
        return found

    def until(self, what: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.05)

    def stop(self) -> str:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        if self.reader is not None:
            self.reader.join(10)
        return "".join(self.told)


@contextmanager
def serving(directory: Path, *options: str) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "farthing.cli", "serve", str(directory), "--port", str(port), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    server = Server(process, port)
    try:
        assert process.stdout is not None
        told = []
        while not told or not told[-1].startswith("serving "):
            line = process.stdout.readline()
            assert line, "".join(told)
            told.append(line)
        server.listen()
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        server.stop()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def server(artifact: Artifact) -> Iterator[Server]:
    with serving(artifact.directory, "--replicas", "2") as made:
        yield made
