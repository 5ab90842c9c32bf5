"""Real replicas of a real model, run by the supervisor alone: hurt, worn out, gone."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable

import numpy as np
import psutil
import pytest

from farthing.artifact import Artifact
from farthing.errors import BuildError
from farthing.pooling import Pool, Replica, ReplicaLost, Settings, pool
from farthing.testing.artifacts import expected
from farthing.testing.misbehaving import GROWS, GROWTH, LOOPS, misbehaving

IDS = np.array([1, 2, 3, 4])


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return misbehaving(tmp_path_factory.mktemp("misbehaving"))


def pooled(artifact: Artifact, settings: Settings, test: Callable[[Pool], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with pool(artifact.directory, artifact.manifest.deployment, settings) as made:
            await until(lambda: len(made.ready) == settings.num_replicas)
            await asyncio.wait_for(test(made), 120)

    asyncio.run(whole())


async def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.01)


async def ask(made: Pool, replica: Replica, ids: np.ndarray = IDS, timeout_s: float = 30.0) -> None:
    rows, _ = await made.run(replica, [(ids,)], timeout_s)
    np.testing.assert_allclose(rows[0][0], expected(IDS[None])[0], rtol=1e-5)


def process_of(replica: Replica) -> psutil.Process:
    assert replica.process is not None
    return psutil.Process(replica.process.pid)


def test_what_served_is_needed_again_at_once_and_what_never_serves_ever_more_slowly(artifact: Artifact) -> None:
    settings = Settings(backoff_s=0.05, most_backoff_s=0.4, most_crashes=4)
    states: list[str] = []

    async def test(made: Pool) -> None:
        (replica,) = made.replicas
        for _ in range(settings.most_crashes + 1):
            await ask(made, replica)
            replica.kill("by the test")
            await until(lambda: replica.state == "starting")
            assert 0.0 <= made.ready_in_s <= replica.start_s, "new work may wait for it"
            await until(lambda: replica.state == "ready")
        assert (replica.num_crashes, replica.num_restarts) == (0, settings.most_crashes + 1)
        model = artifact.directory / "model.onnx"
        whole = model.read_bytes()
        model.write_bytes(whole[: len(whole) // 2])
        replica.kill("by the test")
        await until(lambda: states.append(replica.state) is None and replica.state == "broken")
        assert replica.num_crashes == settings.most_crashes
        assert "down" in states
        assert made.ready == [] and made.ready_in_s == float("inf")
        assert "model.onnx" in replica.reason or "INVALID_PROTOBUF" in replica.reason
        model.write_bytes(whole)
        await until(lambda: replica.state == "ready")
        await ask(made, replica)

    pooled(artifact, settings, test)


def test_a_replica_that_is_stopped_is_replaced(artifact: Artifact) -> None:
    async def test(made: Pool) -> None:
        first, second = made.replicas
        pid, other = process_of(first).pid, process_of(second).pid
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ReplicaLost, match="was stopped by a signal"):
            await ask(made, first)
        await until(lambda: first.state == "ready")
        await ask(made, first)
        assert process_of(first).pid != pid and process_of(second).pid == other
        assert not psutil.pid_exists(pid)

    pooled(artifact, Settings(num_replicas=2), test)


def test_a_replica_that_hangs_is_replaced_and_one_that_is_busy_is_not(artifact: Artifact) -> None:
    async def test(made: Pool) -> None:
        (replica,) = made.replicas
        pid = process_of(replica).pid
        with pytest.raises(ReplicaLost, match="gave no answer within 1 s"):
            await ask(made, replica, np.array([1, 2, 3, LOOPS]), timeout_s=1.0)
        await until(lambda: replica.state == "ready")
        assert process_of(replica).pid != pid
        await ask(made, replica)

    pooled(artifact, Settings(), test)


def test_a_replica_that_has_grown_is_recycled_one_after_the_other(artifact: Artifact) -> None:
    async def fresh_bytes() -> int:
        async with pool(artifact.directory, artifact.manifest.deployment, Settings()) as made:
            await ask(made, made.replicas[0])
            return int(process_of(made.replicas[0]).memory_info().rss)

    settings = Settings(num_replicas=2, max_rss_bytes=asyncio.run(fresh_bytes()) + 2 * GROWTH)  # a growth is 4 of those
    fewest: list[int] = []

    async def test(made: Pool) -> None:
        pids = {process_of(replica).pid for replica in made.replicas}
        for replica in made.replicas:
            await made.run(replica, [(np.array([1, 2, 3, GROWS]),)], 30.0)
        await until(
            lambda: (
                fewest.append(len(made.ready)) is None
                and len(made.ready) == 2
                and not pids & {process_of(replica).pid for replica in made.ready}
            )
        )
        assert min(fewest) == 1, "one serves while the other is started anew"
        assert sum(replica.num_restarts for replica in made.replicas) == 0, "that was no crash"
        for replica in made.replicas:
            await ask(made, replica)

    pooled(artifact, settings, test)


def test_a_cap_below_what_the_model_needs_is_told_and_not_tried_for_ever(artifact: Artifact) -> None:
    with pytest.raises(BuildError, match=r"no replica .* can be started: holds 0\.\d+ GiB when just warm"):
        pooled(artifact, Settings(max_rss_bytes=1e6), lambda made: asyncio.sleep(0))


def test_nothing_is_left_behind(artifact: Artifact) -> None:
    files, children = psutil.Process().num_fds(), psutil.Process().children()

    async def test(made: Pool) -> None:
        for _ in range(3):
            for replica in made.replicas:
                replica.kill("by the test")
            await until(lambda: all(replica.state == "starting" for replica in made.replicas))
            await until(lambda: len(made.ready) == 2)
            for replica in made.replicas:
                await ask(made, replica)

    pooled(artifact, Settings(num_replicas=2), test)
    assert psutil.Process().children() == children
    assert psutil.Process().num_fds() <= files


def test_an_ejected_replica_gets_no_work_unless_it_is_the_last_and_is_started_anew(artifact: Artifact) -> None:
    async def test(made: Pool) -> None:
        first, second = made.replicas
        pid = process_of(first).pid
        for _ in range(5):
            made.blame(first.name)
        assert made.ready == [second]
        await until(lambda: first.state == "ready" and process_of(first).pid != pid)
        assert made.ready == [second], "as long as it is ejected"
        for _ in range(50):
            made.blame(second.name)
        assert made.ready == [second], "the last one stays"
        second.kill("by the test")
        await until(lambda: second.state != "ready")
        assert made.ready == [first], "better one that failed than none"

    pooled(artifact, Settings(num_replicas=2), test)
