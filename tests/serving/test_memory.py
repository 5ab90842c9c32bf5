"""Whatever is kept of requests, items and versions has a bound, whoever asks for whatever."""

import asyncio
import contextlib
import gc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from farthing.serving import hang_ups, retries
from farthing.serving.limits import ClientGone, Message, Receive
from farthing.serving.metrics import Metrics
from farthing.serving.pending import Pending, Refused
from farthing.serving.retries import MOST_QUARANTINED, QUARANTINE_S, REASON_CHARACTERS, Retries
from farthing.serving.versions import MOST_EVENTS, Versions


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(retries, "time", clock)
    return clock


def pending(value: int) -> Pending:
    times = {"arrived_s": 0.0, "deadline_s": 1e9, "length": 1, "priority": 0, "foretold_s": 0.0}
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    return Pending(encoded=(np.array([value]),), answer=answer, **times)  # type: ignore[arg-type]


def blamed(held: Retries, values: range, reason: str = "index out of range") -> None:
    async def blame() -> None:
        for value in values:
            item = pending(value)
            held.failed([item], "replica-0", reason, has_another=False)
            assert isinstance(item.answer.exception(), Refused)

    asyncio.run(blame())


def banned(held: Retries, value: int, now: float) -> str | None:
    async def ask() -> str | None:
        return held.banned(pending(value), now)

    return asyncio.run(ask())


def test_the_quarantine_holds_the_latest_and_no_more(clock: Clock) -> None:
    held = Retries()
    blamed(held, range(MOST_QUARANTINED + 100))
    assert len(held.quarantine) == MOST_QUARANTINED
    assert banned(held, 99, clock.now) is None
    assert banned(held, 100, clock.now) == "index out of range"


def test_the_quarantine_forgets_what_it_refuses_no_more(clock: Clock) -> None:
    held = Retries()
    blamed(held, range(500))
    clock.now += QUARANTINE_S - 1.0
    blamed(held, range(100))  # seen again: younger now
    clock.now += 2.0
    blamed(held, range(1000, 1001))
    assert len(held.quarantine) == 101
    assert banned(held, 7, clock.now) == "index out of range"


def test_of_what_a_model_says_the_beginning_is_kept(clock: Clock) -> None:
    held = Retries()
    blamed(held, range(1), "x" * 1_000_000)
    assert banned(held, 0, clock.now) == "x" * REASON_CHARACTERS + "..."


def series(metrics: Metrics) -> set[str]:
    return {sample.labels["route"] for metric in metrics.responses.collect() for sample in metric.samples}


def test_nobody_fills_the_metrics_with_routes_of_his_own() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.answered(f"/no/{number}", 404)
        metrics.answered(f"/v1/{number}", 401)
        metrics.answered(f"/v2/models/m/versions/{number}/infer", 200)
        metrics.answered("/v1/predict", 200)
    assert series(metrics) == {"other", "/v2/models/m/versions/VERSION/infer", "/v1/predict"}
    assert len(metrics._by_answer) == 1
    counted = {sample.labels["route"]: sample.value for metric in metrics.responses.collect() for sample in metric.samples
               if sample.name.endswith("_total")}  # fmt: skip
    assert counted["/v2/models/m/versions/VERSION/infer"] == 1000


def test_the_history_of_versions_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    held = Versions(lambda artifact: None, 1.0, told.append)
    monkeypatch.setattr(Versions, "_retire", lambda self, version: None)
    for number in range(MOST_EVENTS + 50):
        held.rollout = SimpleNamespace(version=SimpleNamespace(name=f"v{number}"))  # type: ignore[assignment]
        held.roll_back("asked for")
    assert len(told) == MOST_EVENTS + 50
    assert len(held.history) == MOST_EVENTS
    assert held.history[-1].startswith(f"v{MOST_EVENTS + 49} ")


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def hangs_up() -> Message:
    await asyncio.sleep(0.001)
    return {"type": "http.disconnect"}


@pytest.mark.parametrize("receive", [never, hangs_up])
def test_a_request_that_waits_leaves_no_ring_of_objects(receive: Receive, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only the collector can free piles up between its runs: some twenty objects a request."""
    monkeypatch.setattr(hang_ups, "UNWATCHED_S", 0.0)

    async def asked() -> None:
        with contextlib.suppress(ClientGone), hang_ups.Watch(receive):
            await asyncio.sleep(0.003)

    async def whole() -> int:
        gc.collect()
        gc.disable()
        try:
            for _ in range(100):
                await asyncio.create_task(asked())
            await asyncio.sleep(0.01)
            return gc.collect()
        finally:
            gc.enable()

    assert asyncio.run(whole()) < 100
