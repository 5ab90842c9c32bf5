"""The small server of these tests, started once."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def ports():
    """Of the well-behaved server, and of the rude one."""
    command = [sys.executable, str(Path(__file__).with_name("server.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield tuple(map(int, server.stdout.readline().split()))
        finally:
            server.kill()


@pytest.fixture
def url(ports):
    return f"http://127.0.0.1:{ports[0]}"


@pytest.fixture
def rude(ports):
    return f"http://127.0.0.1:{ports[1]}"
