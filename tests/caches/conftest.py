"""A real Redis server for the tests of this folder; where there is none, they say so and are skipped."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Start = Callable[[int], "subprocess.Popen[bytes]"]


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Start]:
    """Starts a server on a port; all are killed after the test."""
    pytest.importorskip("redis", reason="redis-py is not installed: pip install 'farthing[redis]'")
    started: list[subprocess.Popen[bytes]] = []

    def start(port: int) -> "subprocess.Popen[bytes]":
        started.append(run_redis(port, tmp_path))
        return started[-1]

    yield start
    for server in started:
        server.kill()
        server.wait()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    pytest.importorskip("redis", reason="redis-py is not installed: pip install 'farthing[redis]'")
    port = free_port()
    server = run_redis(port, tmp_path_factory.mktemp("redis"))
    yield port
    server.kill()
    server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_redis(port: int, directory: Path) -> subprocess.Popen[bytes]:
    """Ready when this returns."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server on this machine: apt-get install redis-server")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(directory)]
    server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.05)
    server.kill()
    raise TimeoutError("redis-server did not open its port within 10 s")
