"""What stands before a model: the exact cache, the semantic cache, and one call where many ask the same."""

import asyncio
import functools
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from farthing.caches.base import Cache
from farthing.caching.encoding import from_bytes, to_bytes
from farthing.caching.flight import Flight
from farthing.caching.savings import Savings, Terms
from farthing.caching.semantic import Hit, Semantic
from farthing.types import Array

Model = Callable[..., Awaitable[Any]]  # model(item, **request) -> its answer; what else it is given comes from the caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    value: Any  # arrays that come from a cache, or were computed for another, are read-only
    source: Literal["model", "shared", "exact", "neighbour"]  # shared: by the model call of an equal request under way


def cached(
    model: Model,
    *,
    cache: Cache | None,
    version: str,
    terms: Terms,
    semantic: Semantic | None = None,
    **knobs: Any,
) -> "Front":
    """`model` behind caches. `version` is the digest of the model: another model never sees these answers.

    knobs: `ttl_s`, `personal` (errors of `model` that concern only who asked), `window` (requests between judgements).
    """
    window = {"window": knobs.pop("window")} if "window" in knobs else {}
    exact, near = Savings(terms=terms, name="exact cache", **window), Savings(terms=terms, name="semantic cache", **window)
    flights: dict[str, Any] = {"_calls": Flight(personal=knobs.pop("personal", ())), "_vectors": Flight()}
    # `to_bytes` of a pair is its head, then each part: the head and the version are the same for all
    head = to_bytes((version, None)).removesuffix(to_bytes(None))
    return Front(model=model, cache=cache, head=head, semantic=semantic, exact=exact, near=near, **flights, **knobs)


@dataclass(slots=True, kw_only=True)
class Front:
    """Used from one event loop. What is slow (a disk, a network, an embedding) runs beside it.

    Errors are never kept, nor answers that say nothing: None, NaN, infinity. Whatever is not a hit is the model's own answer.
    """

    model: Model
    cache: Cache | None
    head: bytes  # of every key: the model's version
    semantic: Semantic | None
    exact: Savings
    near: Savings
    ttl_s: float = float("inf")
    _calls: Flight[tuple[str, bytes], tuple[Any, bytes]]
    _vectors: Flight[str, Array | None]
    _shadows: set[asyncio.Task[None]] = field(default_factory=set)

    async def ask(
        self, item: Any, *, tenant: str = "", text: str | None = None, patience_s: float = math.inf, **request: Any
    ) -> Answer:
        """The answer to `item`. `text` is what the semantic cache compares; without it, that cache is not asked.

        For a call that another began one waits `patience_s` at most, then TimeoutError. Raises what `model` raises, and
        TypeError for an item or an answer that has no bytes (see `encoding.to_bytes`).
        """
        started_s, landed = time.thread_time(), self._calls.landed
        key = self.head + to_bytes(item)
        if (found := await self._exact(tenant, key, started_s)) is not None:
            return Answer(value=found, source="exact")
        vector = await self._embedding(text) if text is not None else None
        neighbour = None if vector is None or text is None else (text, vector)
        if neighbour is not None and (hit := self._near(tenant, *neighbour)) is not None:
            if hit.shadow:
                self._shadow(hit, functools.partial(self._call, tenant, key, item, neighbour, request))
            return Answer(value=from_bytes(hit.answer), source="neighbour")
        if self._calls.landed != landed and (found := await self._landed_meanwhile(tenant, key)) is not None:
            return Answer(value=found, source="exact")
        value, shared = await self._call(tenant, key, item, neighbour, request, patience_s)
        return Answer(value=value, source="shared" if shared else "model")

    async def settle(self) -> None:
        """Wait for the shadows under way: before a test reads the counts, before the process ends."""
        while self._shadows:
            await asyncio.gather(*self._shadows, return_exceptions=True)

    def clear(self, tenant: str) -> None:
        """Forget what a tenant has, everywhere."""
        if self.cache is not None:
            self.cache.clear(tenant)
        if self.semantic is not None:
            self.semantic.clear(tenant)

    async def _exact(self, tenant: str, key: bytes, started_s: float) -> Any:
        if self.cache is None:
            return None
        if not self.exact.is_on:
            self.exact.passed()
            return None
        self.exact.took(time.thread_time() - started_s)
        value = await self._looked_up(tenant, key)
        self.exact.looked(hit=value is not None)
        return value

    async def _landed_meanwhile(self, tenant: str, key: bytes) -> Any:
        """What was asked for and answered between this request's look and now: without it, one more model call."""
        if self.cache is None or not self.exact.is_on:
            return None
        value = await self._looked_up(tenant, key)
        self.exact.shared += value is not None
        return value

    async def _looked_up(self, tenant: str, key: bytes) -> Any:
        assert self.cache is not None
        return _thawed(await self._storage(self.cache.get, tenant, key))

    async def _embedding(self, text: str) -> Array | None:
        """None where the semantic cache is off (for good, or because it did not pay), or the embedder gave nothing."""
        semantic = self.semantic
        if semantic is None or not semantic.is_on:
            return None
        if not self.near.is_on:
            self.near.passed()
            return None

        async def embed() -> Array | None:
            vector, seconds = await semantic.embed(text)
            self.near.took(seconds)
            return vector

        vector, _ = await self._vectors.join(text, embed)
        return vector

    def _near(self, tenant: str, text: str, vector: Array) -> Hit | None:
        assert self.semantic is not None
        started_s = time.thread_time()
        hit = self.semantic.look(tenant, text, vector)
        self.near.took(time.thread_time() - started_s)
        self.near.looked(hit=hit is not None)
        return hit

    async def _call(
        self,
        tenant: str,
        key: bytes,
        item: Any,
        neighbour: tuple[str, Array] | None,
        request: dict[str, Any],
        patience_s: float = math.inf,
    ) -> tuple[Any, bool]:
        """One model call for all who ask this now; its answer is kept before they get it. Also whether another had begun it."""

        async def work() -> tuple[Any, bytes]:
            value = await self.model(item, **request)
            held = to_bytes(value)
            if _says_something(value):
                await self._keep(tenant, key, held, neighbour)
            return value, held

        (value, held), shared = await self._calls.join((tenant, key), work, patience_s=patience_s)
        self.exact.shared += shared
        return (from_bytes(held) if shared else value), shared

    async def _keep(self, tenant: str, key: bytes, held: bytes, neighbour: tuple[str, Array] | None) -> None:
        if self.cache is not None and self.exact.is_on:
            await self._storage(self.cache.put, tenant, key, held, self.ttl_s)
        if self.semantic is not None and neighbour is not None:
            started_s = time.thread_time()
            self.semantic.add(tenant, *neighbour, held)
            self.near.took(time.thread_time() - started_s)

    def _shadow(self, hit: Hit, call: Callable[[], Awaitable[tuple[Any, bool]]]) -> None:
        async def compare() -> None:
            assert self.semantic is not None
            answer, _ = await call()  # an error of the model says nothing about the hit: it ends this task, uncounted
            self.semantic.observe(hit, answer, from_bytes(hit.answer))

        self.near.shadowed()
        task = asyncio.ensure_future(compare())
        self._shadows.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._shadows.discard(task)
        if not task.cancelled():
            task.exception()

    async def _storage(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """What the cache says; the seconds of a core that it took go into the books."""
        assert self.cache is not None

        def timed() -> tuple[Any, float]:
            started_s = time.thread_time()
            result = work(*arguments)
            return result, time.thread_time() - started_s

        result, seconds = await asyncio.to_thread(timed) if self.cache.blocks else timed()
        self.exact.took(seconds)
        return result


def _thawed(held: bytes | None) -> Any:
    """None for nothing, and for bytes that are no answer (another program's, a torn file's)."""
    try:
        return None if held is None else from_bytes(held)
    except ValueError:
        return None


def _says_something(value: Any) -> bool:
    """Whether an answer may be kept: there is one, and all its numbers are finite."""
    if isinstance(value, dict):
        return _says_something(tuple(value.values()))
    if isinstance(value, tuple | list):
        return all(_says_something(part) for part in value)
    if isinstance(value, np.ndarray | np.generic | float):
        array = np.asarray(value)
        return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())
    return value is not None
