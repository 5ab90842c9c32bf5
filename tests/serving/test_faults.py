"""What a server survives: killed, stopped and looping replicas, poison, clients that die, a full disk, a corrupt artifact."""

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from farthing.artifact import Artifact
from farthing.testing.artifacts import lookup
from farthing.testing.misbehaving import CRASHES, LOOPS, NAN, RAISES, misbehaving

from .conftest import Server, serving
from .load import INNOCENT, Draw, Seen, drive, innocent

IDS = [1, 2, 3, 4]


@pytest.fixture(scope="module")
def bad_artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return misbehaving(tmp_path_factory.mktemp("misbehaving"), batch_size=8, batch_delay_s=0.005)


@pytest.fixture
def bad(bad_artifact: Artifact) -> Iterator[Server]:
    with serving(bad_artifact.directory, "--replicas", "2") as made:
        made.until(lambda: gauge(made, "replicas_ready") == 2)
        yield made


def gauge(server: Server, name: str) -> float:
    page = server.ask("GET", "/metrics")[1].decode()
    return next(float(line.split()[1]) for line in page.splitlines() if line.startswith(f"farthing_{name} "))


def under_load(server: Server, hurt: Callable[[], Awaitable[None]], draw: Draw = innocent, num_clients: int = 8) -> Seen:
    """What the clients saw while `hurt` ran."""
    seen = Seen()

    async def whole() -> None:
        stop = asyncio.Event()
        driving = asyncio.create_task(drive(server.port, seen, stop, draw, num_clients))
        try:
            await asyncio.sleep(0.5)
            await hurt()
        finally:
            stop.set()
            await driving

    asyncio.run(whole())
    return seen


async def until(what: Callable[[], bool], seconds: float = 60.0) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    while not await asyncio.to_thread(what):
        assert time.monotonic() - began < seconds, "waited too long"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def good_share(seen: Seen) -> float:
    counts = seen.of(INNOCENT)
    return counts.get("200", 0) / sum(counts.values())


def test_a_replica_is_killed_every_five_seconds(server: Server) -> None:
    server.until(lambda: gauge(server, "replicas_ready") == 2)
    back_s: list[float] = []
    before = gauge(server, "replica_restarts")

    async def hurt() -> None:
        for number in range(3):
            began = time.monotonic()
            os.kill(server.replicas()[number % 2], signal.SIGKILL)
            await until(lambda number=number: gauge(server, "replica_restarts") == before + number + 1)
            await until(lambda: gauge(server, "replicas_ready") == 2)
            back_s.append(time.monotonic() - began)
            await asyncio.sleep(max(0.0, 5.0 - back_s[-1]))

    seen = under_load(server, hurt)
    assert good_share(seen) >= 0.999, seen.counts
    assert seen.longest_gap_s() < 2.0, "the other replica serves meanwhile"
    started_s = fresh_start_s()
    assert min(back_s) < max(2.0, 4.0 * started_s), f"back after {back_s} s, where a process starts in {started_s:.2g} s"


def fresh_start_s() -> float:
    """What a replica's imports alone take on this machine, as busy as it is."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import farthing.pooling.replica, onnxruntime"], check=True)
    return time.monotonic() - began


def test_a_replica_that_is_stopped_is_replaced_and_nobody_notices(server: Server) -> None:
    server.until(lambda: gauge(server, "replicas_ready") == 2)
    stopped, other = server.replicas()

    async def hurt() -> None:
        os.kill(stopped, signal.SIGSTOP)
        await until(lambda: stopped not in server.replicas() and gauge(server, "replicas_ready") == 2)

    seen = under_load(server, hurt)
    assert set(seen.of(INNOCENT)) == {"200"}, seen.counts
    assert other in server.replicas()


def test_an_item_that_never_ends_is_found_out_and_its_replica_replaced(bad: Server) -> None:
    looped: list[tuple[int, Any]] = []

    async def hurt() -> None:
        looped.append(await asyncio.to_thread(bad.predict, [*IDS[:3], LOOPS]))
        looped.append(await asyncio.to_thread(bad.predict, [*IDS[:3], LOOPS]))
        await until(lambda: gauge(bad, "replicas_ready") == 2)

    seen = under_load(bad, hurt)
    assert [status for status, _ in looped] == [500, 422]
    assert "gave no answer within" in looped[0][1]["error"]
    assert set(seen.of(INNOCENT)) == {"200"}, seen.counts
    assert gauge(bad, "replica_restarts") == 2, "found out with two replicas, not one for each halving"
    assert bad.ask("GET", "/healthz")[0] == 200


def test_one_request_in_a_hundred_is_poison_and_all_others_are_answered(bad: Server) -> None:
    kinds = ("bad shape", "not a number", "answers NaN", "raises", "crashes")

    def draw(number: int) -> tuple[str, Any]:
        if number % 100 != 50:
            return innocent(number)
        which = number // 100
        kind, rest = kinds[which % len(kinds)], np.random.default_rng(number).integers(0, 8, 3).tolist()
        bodies = {"answers NaN": [*rest, NAN], "raises": [*rest, RAISES], "crashes": [*rest, CRASHES], "bad shape": rest}
        return kind, bodies.get(kind, b"[NaN, 1, 2, 3]")

    seen = Seen()

    async def hurt() -> None:
        await until(lambda: sum(seen.of("crashes").values()) >= 4, seconds=240.0)
        await until(lambda: gauge(bad, "replicas_ready") == 2)

    async def whole() -> None:
        stop = asyncio.Event()
        driving = asyncio.create_task(drive(bad.port, seen, stop, draw))
        try:
            await hurt()
        finally:
            stop.set()
            await driving

    asyncio.run(whole())
    assert set(seen.of(INNOCENT)) == {"200"}, seen.counts
    found = {kind: set(seen.of(kind)) for kind in kinds}
    assert found["bad shape"] == {"422"} and found["not a number"] == {"400"}
    for kind in ("answers NaN", "raises", "crashes"):
        assert "500" in found[kind] and found[kind] <= {"500", "422"}, found
    assert gauge(bad, "replica_ejections") == 0, "poison says nothing about a replica"


def test_ten_thousand_clients_that_die_leave_nothing_behind(server: Server) -> None:
    body = json.dumps({"items": [IDS] * 20}).encode()
    head = b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body)
    said = [head[:20], head, head + body[:30], head + body]
    process = psutil.Process(server.process.pid)

    def settled() -> bool:
        return gauge(server, "waiting") == 0 and gauge(server, "in_flight") == 0

    def die(times: int) -> None:
        for number in range(times):
            if number % 100 == 0:  # memory of a crowd is no leak
                server.until(settled)
            with socket.create_connection(("127.0.0.1", server.port)) as raw:
                raw.sendall(said[number % len(said)])
                if number % 3 == 0:  # with a reset
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.until(settled)

    die(2000)
    files, rss_bytes = process.num_fds(), process.memory_info().rss
    die(8000)
    server.until(lambda: process.num_fds() <= files + 2)
    assert process.memory_info().rss - rss_bytes < 4e6, "that would be 400 bytes a client"
    assert server.predict(IDS)[0] == 200


def test_tls(artifact: Artifact, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl on this machine: apt-get install openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    asked = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([openssl, *asked, *names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    told = refused(artifact.directory, "--certificate", str(certificate), "--private-key", str(certificate))
    assert "are no certificate and its private key in PEM" in told
    with serving(artifact.directory, "--certificate", str(certificate), "--private-key", str(key)) as server:
        address = f"https://127.0.0.1:{server.port}/v1/predict"
        trusting = ssl.create_default_context(cafile=str(certificate))
        with urllib.request.urlopen(address, json.dumps(IDS).encode(), context=trusting) as answer:
            assert answer.status == 200
        with pytest.raises(OSError, match="certificate verify failed"):
            urllib.request.urlopen(address, b"[]", context=ssl.create_default_context())
        with socket.create_connection(("127.0.0.1", server.port)) as raw, pytest.raises(ConnectionError):
            raw.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
            if not raw.recv(100):
                raise ConnectionError("closed")
        with urllib.request.urlopen(address.replace("v1/predict", "healthz"), context=trusting) as answer:
            assert answer.status == 200


def refused(*arguments: object) -> str:
    """What `farthing serve` says before it ends with code 2."""
    command = [sys.executable, "-m", "farthing.cli", "serve", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def copied(artifact: Artifact, folder: Path) -> Path:
    return Path(shutil.copytree(artifact.directory, folder / "copy"))


def test_an_artifact_that_is_torn_is_told_by_name(artifact: Artifact, tmp_path: Path) -> None:
    torn = copied(artifact, tmp_path)
    model = torn / "model.onnx"
    whole = model.read_bytes()
    model.write_bytes(whole[: len(whole) // 2])
    assert "model.onnx" in refused(torn)
    model.unlink()
    assert "model.onnx" in refused(torn)
    manifest = next(path for path in torn.glob("*.json") if path.name != "pipeline.json")
    manifest.write_text(manifest.read_text()[:100])
    assert manifest.name in refused(torn)
    assert "empty" in refused(tmp_path / "empty")


def test_a_cap_on_memory_that_the_model_cannot_keep_is_told(artifact: Artifact) -> None:
    assert "GiB when just warm, which is more than it may (max_rss_gib)" in refused(
        artifact.directory, "--port", "0", "--max-rss-gib", "0.001"
    )


def test_when_no_replica_can_be_started_the_server_says_so_and_comes_back(tmp_path: Path) -> None:
    made = lookup(tmp_path, batch_size=8)
    model = made.directory / "model.onnx"
    with serving(made.directory) as server:
        whole = model.read_bytes()
        model.write_bytes(b"")
        os.kill(server.replicas()[0], signal.SIGKILL)
        server.until(lambda: server.predict(IDS)[0] == 503)
        status, told, headers = server.ask("POST", "/v1/predict", IDS)
        assert (status, told["error"], headers["retry-after"]) == (503, "no replica is ready", "1")
        assert server.ask("GET", "/readyz")[0] == 503
        assert server.ask("GET", "/healthz")[0] == 200
        model.write_bytes(whole)
        server.until(lambda: server.predict(IDS)[0] == 200, 60.0)
        assert server.ask("GET", "/readyz")[0] == 200
