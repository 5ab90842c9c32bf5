"""Servers side by side: started on their cores, asked until they answer, their processor time and that of strangers taken."""

import contextlib
import itertools
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

START_S, STOP_S = 120.0, 3.0
RECEIVED = 65536
MOST_SETTLE_S, RESTING_CORES = 12, 0.2


@dataclass(kw_only=True)
class Server:
    process: psutil.Process
    port: int
    path: str
    seen: dict[int, float]  # process -> its CPU seconds when last seen: also those that are gone count

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def family(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self.process, *self.process.children(recursive=True)]
        return []

    def cpu_s(self) -> float:
        """Of all its processes since their start."""
        for one in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                self.seen[one.pid] = times.user + times.system
        return sum(self.seen.values())

    def rss_bytes(self) -> int:
        total = 0
        for one in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
        return total


@contextlib.contextmanager
def running(
    command: Sequence[str], port: int, path: str, body: bytes, *, cores: str, env: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[Server]:  # fmt: skip
    """A server that has answered `body` with 200; on exit it and all that it started are gone."""
    process = subprocess.Popen(
        ["nice", "-n", str(max(0, -os.nice(0))), "taskset", "-c", cores, *command],  # who asks may be put before it
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    server = Server(process=psutil.Process(process.pid), port=port, path=path, seen={})
    os.set_blocking(process.stdout.fileno(), False)  # type: ignore[union-attr]
    try:
        deadline = time.monotonic() + START_S
        while not answers(port, path, body):
            if process.poll() is not None or time.monotonic() > deadline:
                said = (process.stdout.read() or b"").decode(errors="replace")  # type: ignore[union-attr]
                raise RuntimeError(f"{' '.join(command)} does not answer: {said[-1500:]}")
            time.sleep(0.1)
        yield server
    finally:
        family = server.family()
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(family, STOP_S)
        for one in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def settle(server: Server) -> None:
    """Wait until it rests: some go on starting processes after their first answer."""
    for _ in range(MOST_SETTLE_S):
        before_s = server.cpu_s()
        time.sleep(1.0)
        if server.cpu_s() - before_s < RESTING_CORES:
            return


def request(port: int, path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def answers(port: int, path: str, body: bytes) -> bytes:
    """The whole answer, b"" if it was none or not 200."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as channel:
        channel.settimeout(10)
        channel.sendall(request(port, path, body))
        told = b""
        while not whole(told):
            part = channel.recv(RECEIVED)
            if not part:
                return b""
            told += part
        return told if told.startswith(b"HTTP/1.1 200") else b""
    return b""


def whole(told: bytes) -> bool:
    head, found, body = told.partition(b"\r\n\r\n")
    if not found:
        return False
    head = head.lower()
    if b"transfer-encoding: chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(head.split(b"content-length:")[1].split(b"\r\n")[0])


def peak(server: Server, bodies: Sequence[bytes], *, connections: int, seconds: float) -> float:
    """Good answers per second in a closed loop: each connection asks again as soon as it is answered. What a server sheds (503)
    does not count; any other answer is an error.
    """
    sent, num_good, answer = itertools.cycle([request(server.port, server.path, body) for body in bodies]), 0, b""
    told: dict[socket.socket, bytes] = {}
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(connections):
            channel = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(channel, selectors.EVENT_READ)
            told[channel] = b""
            channel.sendall(next(sent))
        started = time.perf_counter()
        while (now := time.perf_counter()) < started + seconds:
            for key, _ in selector.select(0.1):
                channel = key.fileobj
                answer = told[channel] = told[channel] + channel.recv(RECEIVED)  # type: ignore[index, union-attr]
                if not whole(answer):
                    continue
                if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503")):
                    raise RuntimeError(answer[:200].decode(errors="replace"))
                told[channel] = b""  # type: ignore[index]
                num_good += answer.startswith(b"HTTP/1.1 200")
                channel.sendall(next(sent))  # type: ignore[union-attr]
        if not num_good:
            raise RuntimeError(f"no good answer in {seconds:g} s, the last one was {answer[:200].decode(errors='replace')}")
        return num_good / (now - started)


@dataclass(kw_only=True)
class Strangers:
    """How many cores others kept busy in a span of time: what is neither the server's, nor ours, nor our children's."""

    server: Server
    started_s: float = 0.0
    before_s: float = 0.0
    cores: float = 0.0
    server_cores: float = 0.0

    def __enter__(self) -> "Strangers":
        self.started_s, self.before_s, self.server_cores = time.monotonic(), _machine_s() - _own_s(), self.server.cpu_s()
        return self

    def __exit__(self, *_: object) -> None:
        elapsed_s = time.monotonic() - self.started_s
        served_s = self.server.cpu_s() - self.server_cores
        self.cores = max(0.0, (_machine_s() - _own_s() - self.before_s - served_s) / elapsed_s)
        self.server_cores = served_s / elapsed_s


def _machine_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def _own_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
