"""The cache behind a real server: one call for a thousand, tenants and versions apart, Redis gone, money told."""

import asyncio
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farthing.artifact import Artifact
from farthing.errors import JobError, StoreError
from farthing.serving import Caching
from farthing.serving.metrics import Metrics
from farthing.serving.options import Options
from farthing.serving.recall import stored
from farthing.serving.scheduler import Refused
from farthing.serving.version import Request, opened
from farthing.testing.artifacts import expected, lookup

from .conftest import Server, serving

IDS = np.random.default_rng(2).integers(0, 8, (20, 4))
POISON = [0, 1, 2, 99]


def books(server: Server) -> dict[str, Any]:
    told: dict[str, Any] = server.ask("GET", "/v1/receipt")[1]
    return told


def test_a_thousand_equal_requests_make_one_call(artifact: Artifact) -> None:
    with serving(artifact.directory, "--cache", "memory") as server:
        status, told = server.predict({"items": [IDS[0].tolist()] * 1_000})
        assert status == 200
        np.testing.assert_allclose([one["answer"] for one in told["answers"]], expected(IDS[[0] * 1_000]), rtol=1e-5)
        receipt = books(server)
        assert (receipt["num_answered"], receipt["num_from_cache"]) == (1_000, 999)
        assert receipt["cache"]["hits"] + receipt["cache"]["shared"] == 999
        assert receipt["cache"]["saved_usd"] > 0.0
        page = server.ask("GET", "/metrics")[1].decode()
        assert "farthing_batch_items_sum 1.0" in page
        assert "farthing_cache_is_on 1.0" in page
        assert "by the cache" in server.stop()


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_asked_again_it_is_not_computed_again(kind: str, artifact: Artifact, tmp_path: Path) -> None:
    place = ["--cache-at", str(tmp_path / "answers.sqlite")] if kind == "disk" else []
    with serving(artifact.directory, "--cache", kind, *place) as server:
        for _ in range(2):
            for ids in IDS:
                status, told = server.predict(ids.tolist())
                assert status == 200
                np.testing.assert_allclose(told["answer"], expected(ids[None])[0], rtol=1e-5)
        distinct = len(np.unique(IDS, axis=0))
        assert books(server)["num_from_cache"] == 2 * len(IDS) - distinct
        assert f"farthing_batch_items_sum {distinct}.0" in server.ask("GET", "/metrics")[1].decode()
    if kind == "disk":  # a restart finds them
        with serving(artifact.directory, "--cache", kind, *place) as server:
            assert server.predict(IDS[0].tolist())[0] == 200
            assert books(server)["num_from_cache"] == 1


def test_errors_are_not_kept_and_a_bad_item_fails_alone(artifact: Artifact) -> None:
    with serving(artifact.directory, "--cache", "memory") as server:
        assert server.predict(POISON)[0] == 500
        status, told = server.predict(POISON)
        assert (status, "made the model fail before" in told["error"]) == (422, True)
        status, told = server.predict({"items": [[1, 2], IDS[0].tolist()]})
        assert [one.get("status") for one in told["answers"]] == [422, None]
        receipt = books(server)
        assert (receipt["num_from_cache"], receipt["cache"]["usage"]["entries"]) == (0, 1)


def test_time_and_tenants(artifact: Artifact, tmp_path: Path) -> None:
    import hashlib

    (tmp_path / "keys").write_text("".join(f"{n} {hashlib.sha256(n.encode()).hexdigest()}\n" for n in ("one", "two")))
    options = ["--cache", "memory", "--cache-ttl-s", "0.5", "--keys", str(tmp_path / "keys")]
    with serving(artifact.directory, *options) as server:
        for tenant, kept in (("one", 0), ("one", 1), ("two", 1), ("two", 2)):
            assert server.predict(IDS[0].tolist(), x_api_key=tenant)[0] == 200
            assert server.ask("GET", "/v1/receipt", x_api_key="one")[1]["num_from_cache"] == kept
        time.sleep(0.6)
        assert server.predict(IDS[0].tolist(), x_api_key="one")[0] == 200
        assert server.ask("GET", "/v1/receipt", x_api_key="one")[1]["num_from_cache"] == 2


@pytest.fixture
def redis() -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    pytest.importorskip("redis", reason="redis-py is not installed: pip install 'farthing[redis]'")
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server on this machine: apt-get install redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10.0
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert time.monotonic() < deadline, "redis-server did not open its port"
        time.sleep(0.05)
    yield port, started
    started.kill()
    started.wait()


def test_redis_is_shared_and_when_it_dies_answers_are_slower_never_wrong(
    redis: tuple[int, "subprocess.Popen[bytes]"], artifact: Artifact
) -> None:
    port, process = redis
    options = ["--cache", "redis", "--cache-at", f"redis://127.0.0.1:{port}/0"]
    with serving(artifact.directory, *options) as one, serving(artifact.directory, *options) as two:
        assert one.predict(IDS[0].tolist())[0] == 200
        assert two.predict(IDS[0].tolist())[0] == 200
        assert books(two)["num_from_cache"] == 1
        process.kill()
        process.wait()
        with ThreadPoolExecutor(8) as many:
            answers = list(many.map(lambda ids: two.predict(ids.tolist()), IDS))
        assert {status for status, _ in answers} == {200}
        np.testing.assert_allclose([told["answer"] for _, told in answers], expected(IDS), rtol=1e-5)
        two.until(lambda: books(two)["cache"]["usage"]["failures"] > 0)


def test_another_model_never_sees_the_answers(artifact: Artifact, tmp_path: Path) -> None:
    """Equal inputs, one file of answers, two artifacts that differ in a byte of a file."""
    import onnx

    at = ["--cache", "disk", "--cache-at", str(tmp_path / "answers.sqlite")]
    with serving(artifact.directory, *at) as server:
        assert server.predict(IDS[0].tolist())[0] == 200
    made = lookup(tmp_path / "other", batch_size=1)
    assert onnx.load(made.directory / "model.onnx") is not None
    changed = replace(made, manifest=replace(made.manifest, files={**made.manifest.files, "more": "0" * 64}))

    async def ask() -> tuple[int, int]:
        counts = []
        async with stored(Caching(kind="disk", at=str(tmp_path / "answers.sqlite"))) as storage:
            for one in (made, changed):
                async with opened(one, Options(), Metrics(), storage) as version:
                    await version.answer((IDS[0],), Request())
                    counts.append(version.receipt.num_cached)
        return counts[0], counts[1]

    assert asyncio.run(ask()) == (1, 0)


def test_a_hit_is_answered_when_the_queue_is_full_and_a_follower_keeps_its_own_deadline(artifact: Artifact) -> None:
    async def ask() -> None:
        async with stored(Caching(kind="memory")) as storage, opened(artifact, Options(), Metrics(), storage) as version:
            known, fresh = (IDS[0],), (IDS[1],)
            await version.answer(known, Request())
            version.scheduler.most_waiting = 0
            await version.answer(known, Request())
            with pytest.raises(Refused) as shed:
                await version.answer(fresh, Request())
            assert shed.value.status == 503
            version.scheduler.most_waiting = 10_000
            (replica,) = version.pool.ready
            replica.state = "draining"  # the model stands still
            slow = asyncio.ensure_future(version.answer(fresh, Request()))
            await asyncio.sleep(0)
            started = time.monotonic()
            with pytest.raises(Refused) as late:
                await version.answer(fresh, Request(deadline_s=0.2))
            assert late.value.status in (503, 504) and time.monotonic() - started < 1.0
            slow.cancel()

    asyncio.run(ask())


def test_it_turns_itself_off_where_it_costs_more_than_it_saves_and_says_so(artifact: Artifact) -> None:
    """No item comes twice: after two windows requests go straight to the model, and the receipt says why."""

    async def ask() -> dict[str, Any]:
        options = Options()
        async with stored(Caching(kind="memory")) as storage, opened(artifact, options, Metrics(), storage) as version:
            rows = np.stack(np.unravel_index(np.arange(2_500), (8, 8, 8, 8)), axis=1)
            for start in range(0, len(rows), 500):
                await asyncio.gather(*(version.answer((row,), Request()) for row in rows[start : start + 500]))
            return version.receipt.facts()

    told = asyncio.run(ask())
    assert told["num_answered"] == 2_500
    assert told["cache"]["is_on"] is False
    assert told["cache"]["skipped"] == 500
    assert told["cache"]["saved_usd"] < 0.0
    assert "0 hit" in told["cache"]["why"]
    json.dumps(told)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "memry"}, "cache = 'memry' is not one of none, disk, memory, redis"),
        ({"ttl_s": 5.0}, "cache_ttl_s = 5.0: without effect, since nothing is cached"),
        ({"mib": 5.0}, "cache_mib = 5.0: without effect"),
        ({"kind": "memory", "at": "a.sqlite"}, "memory keeps answers in this process"),
        ({"kind": "disk"}, "cache = disk: say where with cache_at"),
        ({"kind": "redis"}, "cache = redis: say where with cache_at"),
        ({"kind": "memory", "mib": 0.0}, "cache_mib = 0.0 must be positive"),
        ({"kind": "memory", "ttl_s": float("nan")}, "cache_ttl_s = nan must be positive"),
    ],
)
def test_what_has_no_effect_or_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        Caching(**given)


def test_a_place_that_is_none_is_told(tmp_path: Path) -> None:
    pytest.importorskip("redis", reason="redis-py is not installed: pip install 'farthing[redis]'")
    with pytest.raises(JobError, match="cache_at = nonsense is no url for redis"):
        Caching(kind="redis", at="nonsense").opened()
    (tmp_path / "text").write_text("no database, but long enough to be read as one" * 100)
    with pytest.raises(StoreError, match="cannot serve as a cache"):
        Caching(kind="disk", at=str(tmp_path / "text")).opened()


def test_what_is_asked_beside_traffic_is_fresh_and_not_kept(artifact: Artifact) -> None:
    async def ask() -> None:
        async with stored(Caching(kind="memory")) as storage, opened(artifact, Options(), Metrics(), storage) as version:
            await version.answer((IDS[0],), Request(fresh=True))
            await version.answer((IDS[0],), Request())
            await version.answer((IDS[0],), Request(fresh=True))
            assert version.receipt.num_cached == 0
            await version.answer((IDS[0],), Request())
            assert version.receipt.num_cached == 1

    asyncio.run(ask())
