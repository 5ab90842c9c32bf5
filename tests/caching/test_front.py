"""The front: one call for a thousand, nobody's answer to somebody else, errors forgotten, shadows compared."""

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from farthing.caches.disk import Disk
from farthing.caches.memory import Memory
from farthing.caching import cached
from farthing.caching.savings import Terms
from farthing.caching.semantic import Semantic, Threshold, in_thread

TERMS = Terms(usd_per_request=1e-3, usd_per_s=1e-9)


class Model:
    """Doubles its item after a while; counts how often it was asked."""

    def __init__(self, wait_s: float = 0.02, answer: Any = None) -> None:
        self.calls, self.wait_s, self.answer = 0, wait_s, answer

    async def __call__(self, item: Any, **request: Any) -> Any:
        self.calls += 1
        await asyncio.sleep(self.wait_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        return np.asarray(item) * 2 if self.answer is None else self.answer


def front(model: Any, **knobs: Any) -> Any:
    return cached(model, **{"cache": Memory(), "version": "v1", "terms": TERMS} | knobs)


@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_a_thousand_equal_requests_make_one_call(storage, tmp_path):
    cache = Memory() if storage == "memory" else Disk(path=tmp_path / "cache.sqlite")
    model = Model()
    ask = front(model, cache=cache).ask

    async def run() -> list[Any]:
        return await asyncio.gather(*(ask(np.arange(3)) for _ in range(1_000)))

    answers = asyncio.run(run())
    assert model.calls == 1
    assert all(np.array_equal(answer.value, [0, 2, 4]) for answer in answers)
    cache.close()


def test_equal_requests_that_come_late_find_the_answer():
    """One that looked before the answer came, and then was busy with its embedding, does not call again."""
    model = Model(wait_s=0.0)

    def slow(text: str) -> Any:
        time.sleep(0.05)
        return np.ones(4, np.float32)

    semantic = Semantic(embed=in_thread(slow), differs=np.array_equal, threshold=threshold(2 - 1e-9 - 1.0))
    one = front(model, semantic=semantic)

    async def run() -> None:
        await asyncio.gather(one.ask(np.arange(3), text="late"), one.ask(np.arange(3)))

    asyncio.run(run())
    assert model.calls == 1


def test_a_cancelled_leader_hands_over_and_the_last_to_leave_stops_the_work():
    model = Model(wait_s=0.1)
    one = front(model)

    async def run() -> None:
        leader = asyncio.ensure_future(one.ask(1))
        followers = [asyncio.ensure_future(one.ask(1)) for _ in range(3)]
        await asyncio.sleep(0.02)
        leader.cancel()
        answers = await asyncio.gather(*followers)
        assert [int(answer.value) for answer in answers] == [2, 2, 2] and leader.cancelled()
        assert model.calls == 1
        alone = asyncio.ensure_future(one.ask(5))
        await asyncio.sleep(0.02)
        alone.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not one._calls._trips
        assert len(asyncio.all_tasks()) == 1, "the model still works for nobody"

    asyncio.run(run())


def test_errors_are_shared_by_who_waits_and_never_kept():
    model = Model(answer=RuntimeError("the model broke"))
    one = front(model)

    async def run() -> None:
        results = await asyncio.gather(*(one.ask(1) for _ in range(10)), return_exceptions=True)
        assert all(isinstance(result, RuntimeError) for result in results) and model.calls == 1
        model.answer = None
        assert int((await one.ask(1)).value) == 2 and model.calls == 2

    asyncio.run(run())


def test_an_error_that_concerns_one_alone_is_not_shared():
    class Model:
        calls = 0

        async def __call__(self, item: Any, deadline_s: float) -> Any:
            self.calls += 1
            await asyncio.sleep(0.01)
            if deadline_s < 0.01:
                raise TimeoutError("too late")
            return item

    model = Model()
    one = front(model, personal=(TimeoutError,))

    async def run() -> list[Any]:
        waits = [0.001, *[1.0] * 20]
        return await asyncio.gather(*(one.ask(7, deadline_s=wait) for wait in waits), return_exceptions=True)

    first, *others = asyncio.run(run())
    assert isinstance(first, TimeoutError) and [answer.value for answer in others] == [7] * 20
    assert model.calls == 2


@pytest.mark.parametrize("nothing", [np.array([1.0, np.nan]), np.float32(np.inf), (np.ones(2), np.array([np.inf]))])
def test_an_answer_that_says_nothing_is_not_kept(nothing):
    model = Model(answer=nothing)
    one = front(model)

    async def run() -> None:
        await one.ask(1)
        assert (await one.ask(1)).source == "model"

    asyncio.run(run())
    assert model.calls == 2


def test_tenants_and_versions_are_apart():
    model = Model()
    cache = Memory()
    one, two = front(model, cache=cache), front(model, cache=cache, version="v2")

    async def run() -> None:
        assert (await one.ask(1, tenant="a")).source == "model"
        assert (await one.ask(1, tenant="a")).source == "exact"
        assert (await one.ask(1, tenant="b")).source == "model"
        assert (await two.ask(1, tenant="a")).source == "model"
        one.clear("a")
        assert (await one.ask(1, tenant="a")).source == "model"
        await asyncio.gather(one.ask(2, tenant="a"), one.ask(2, tenant="b"))

    asyncio.run(run())
    assert model.calls == 6


def test_answers_cannot_be_changed_by_who_holds_them():
    one = front(Model())

    async def run() -> None:
        await one.ask(np.arange(3))
        answer = await one.ask(np.arange(3))
        with pytest.raises(ValueError, match="read-only"):
            answer.value[0] = 9

    asyncio.run(run())


def test_bytes_of_another_program_are_a_miss():
    cache = Memory()
    one = front(Model(), cache=cache)

    async def run() -> None:
        await one.ask(1)
        ((key, _),) = cache._state.tenants[""].nodes.items()
        cache.put("", key, b"not ours", float("inf"))
        assert (await one.ask(1)).source == "model"

    asyncio.run(run())


def threshold(cosine: float, budget: float = 0.05, max_entries: int = 100) -> Threshold:
    return Threshold(cosine=cosine, budget=budget, max_entries=max_entries, alpha=0.05)


def by_first_letter(text: str) -> Any:
    vector = np.zeros(26, np.float32)
    vector[ord(text[0]) - 97] = 1.0
    return vector


def differs(one: Any, other: Any) -> bool:
    return not np.array_equal(one, other)


def test_a_neighbour_answers_once_then_the_model():
    model = Model()
    semantic = Semantic(embed=in_thread(by_first_letter), differs=differs, threshold=threshold(0.9), shadow_share=1e-9)
    one = front(model, semantic=semantic)

    async def run() -> list[tuple[str, int]]:
        told = []
        for item, text in [(1, "apple"), (2, "avocado"), (2, "avocado"), (2, "avocado"), (3, "banana")]:
            answer = await one.ask(item, text=text)
            told.append((answer.source, int(answer.value)))
        return told

    assert asyncio.run(run()) == [("model", 2), ("neighbour", 2), ("model", 4), ("exact", 4), ("model", 6)]
    assert one.near.hits == 1 and one.near.misses == 3


def test_shadows_find_a_broken_budget_and_switch_it_off_for_good():
    """Every neighbour is wrong: after a few shadows there are no more hits, and the reason is told."""
    model = Model(wait_s=0.0)
    knobs = {"guard": lambda one, other: None, "shadow_share": 0.5}
    semantic = Semantic(embed=in_thread(by_first_letter), differs=differs, threshold=threshold(0.9), **knobs)
    one = front(model, semantic=semantic)

    async def run() -> None:
        for item in range(300):
            await one.ask(item, text=f"a{item}")
        await one.settle()
        before = one.near.hits
        assert before < 100
        for item in range(300, 400):
            assert (await one.ask(item, text=f"a{item}")).source == "model"
        assert one.near.hits == before

    asyncio.run(run())
    assert not semantic._shelves, "answers that nobody may have are kept"
    assert semantic.watch.broken and semantic.describe().startswith("off for good")


def test_a_shadow_that_fails_says_nothing():
    model = Model(wait_s=0.0)
    semantic = Semantic(embed=in_thread(by_first_letter), differs=differs, threshold=threshold(0.9), shadow_share=1.0)
    one = front(model, semantic=semantic)

    async def run() -> None:
        await one.ask(1, text="apple")
        model.answer = RuntimeError("down")
        assert (await one.ask(2, text="avocado")).source == "neighbour"
        await one.settle()

    asyncio.run(run())
    assert (semantic.watch.requests, semantic.watch.shadowed) == (1, 0)


def test_what_cannot_be_cached_is_told():
    one = front(Model(answer=object()))
    with pytest.raises(TypeError, match=r"builtins\.object cannot be cached"):
        asyncio.run(one.ask(1))
