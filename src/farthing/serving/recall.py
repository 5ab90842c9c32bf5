"""What was answered before: which cache keeps it, and what stands before a version's queue."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from farthing import plugins
from farthing.artifact import Artifact, Manifest, identity
from farthing.caches.base import Cache, Usage
from farthing.caching import cached
from farthing.caching.front import Front
from farthing.caching.savings import Savings, Terms
from farthing.caching.semantic import Semantic
from farthing.calibration.budget import differs_by
from farthing.calibration.record import Record
from farthing.errors import JobError
from farthing.serving.pending import Refused
from farthing.types import Array, MemberRef
from farthing.units import MILLION, from_mib

NONE = "none"
TYPICAL_LENGTH = 32
LOOK_S = 5.0  # between two looks at how full a disk's or a server's cache is


class Personal(Refused):
    """Concerns whoever asked alone: shed, or too late. Who waits for the same answer begins anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caching:
    """Which cache (a member of `caches/`, or none), how large, for how long, where. Raises JobError for what has no effect."""

    kind: str = NONE
    mib: float | None = None  # None: the member's own
    ttl_s: float | None = None  # None: until it is pushed out
    at: str | None = None  # a file, a URL
    semantic: Path | None = None  # what `farthing calibrate` wrote
    embedder: Path | None = None  # the artifact that it was calibrated with

    def __post_init__(self) -> None:
        kinds = (NONE, *plugins.names(Cache))  # type: ignore[type-abstract]
        if self.kind not in kinds:
            raise JobError(f"cache = {self.kind!r} is not one of {', '.join(kinds)}")
        for name in ("mib", "ttl_s", "at"):
            value = getattr(self, name)
            if value is not None and self.kind == NONE:
                raise JobError(f"cache_{name} = {value}: without effect, since nothing is cached; give cache too")
            if isinstance(value, float) and not 0.0 < value < math.inf:
                raise JobError(f"cache_{name} = {value} must be positive and finite")
        if (self.semantic is None) != (self.embedder is None):
            raise JobError("semantic and embedder go together: give both, or neither")
        if self.semantic is not None and self.kind == NONE:
            raise JobError("semantic needs cache too: what a neighbour answered once, the model answers and the cache keeps")
        if self.kind != NONE:
            self._check_place(plugins.load(Cache, self.kind).place)  # type: ignore[type-abstract]

    def _check_place(self, place: str | None) -> None:
        if self.at is not None and place is None:
            raise JobError(f"cache_at = {self.at}: without effect, since {self.kind} keeps answers in this process")
        if self.at is None and place is not None:
            raise JobError(f"cache = {self.kind}: say where with cache_at (its {place})")

    def opened(self) -> Cache | None:
        """Raises StoreError, MissingExtra, ValueError as the member does."""
        if self.kind == NONE:
            return None
        knobs: dict[str, Any] = {} if self.mib is None else {"capacity_bytes": int(from_mib(self.mib))}
        place = plugins.load(Cache, self.kind).place  # type: ignore[type-abstract]
        if place is not None:
            knobs[place] = self.at
        try:
            return plugins.make(Cache, MemberRef(name=self.kind, knobs=tuple(knobs.items())))  # type: ignore[type-abstract]
        except ValueError as error:
            raise JobError(f"cache_at = {self.at} is no {place} for {self.kind}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """What a semantic cache needs beside the model."""

    record: Record
    embed: Callable[[str], Awaitable[tuple[Array | None, float]]]

    def semantic(self, ttl_s: float) -> Semantic:
        differs = differs_by(self.record.metric, self.record.tolerance)
        return Semantic(
            embed=self.embed,
            differs=lambda given, own: differs(given[0], own[0]),  # by the first output, as it was calibrated
            threshold=self.record.threshold,
            ttl_s=ttl_s,
        )


@dataclass(slots=True, kw_only=True)
class Storage:
    """The cache that all versions share (each under its own name), and how full it was when last looked at."""

    cache: Cache
    ttl_s: float
    seen: Usage
    near: Near | None = None

    def usage(self) -> Usage:
        return self.seen if self.cache.blocks else self.cache.usage()


@asynccontextmanager
async def stored(caching: Caching, near: Near | None = None) -> AsyncIterator[Storage | None]:
    """Open while the server runs; None where nothing is to be cached."""
    cache = caching.opened()
    if cache is None:
        yield None
        return
    usage = await asyncio.to_thread(cache.usage)
    storage = Storage(cache=cache, ttl_s=math.inf if caching.ttl_s is None else caching.ttl_s, seen=usage, near=near)
    looking = asyncio.create_task(_look(storage))
    try:
        yield storage
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        cache.close()


async def _look(storage: Storage) -> None:
    while storage.cache.blocks:
        await asyncio.sleep(LOOK_S)
        storage.seen = await asyncio.to_thread(storage.cache.usage)


def fronted(artifact: Artifact, model: Callable[..., Awaitable[Any]], storage: Storage, usd_per_busy_s: float) -> Front:
    """The cache before `model`."""
    terms = _terms(artifact.manifest, usd_per_busy_s)
    name, near = identity(artifact), storage.near
    semantic = near.semantic(storage.ttl_s) if near is not None and near.record.model == name else None
    return cached(
        model,
        cache=storage.cache,
        version=f"{name} {installed('farthing')}",  # which encodes: no other model or encoding ever sees these answers
        terms=terms,
        semantic=semantic,
        ttl_s=storage.ttl_s,
        personal=(Personal,),
    )


def facts(front: Front, storage: Storage) -> dict[str, Any]:
    """What the cache did for one version; `usage` is that of all versions together."""
    looking_usd = (front.exact.seconds + front.near.seconds) * front.exact.terms.usd_per_s
    told = _books(front.exact) | {"looking_usd": looking_usd, "usage": asdict(storage.usage()), "semantic": None}
    semantic = front.semantic
    if semantic is not None:
        told["semantic"] = _books(front.near) | {
            "is_on": front.near.is_on and semantic.is_on,
            "budget": semantic.threshold.budget,
            "wrong_bound": semantic.watch.upper_bound(),
            "shadow_calls": front.near.shadow_calls,
            "refused": dict(semantic.refused),
            "watch": semantic.describe(),
        }
    return told


def _books(books: Savings) -> dict[str, Any]:
    names = ("hits", "misses", "shared", "skipped", "saved_usd", "spent_usd", "is_on", "why")
    return {name: getattr(books, name) for name in names}


def _terms(manifest: Manifest, usd_per_busy_s: float) -> Terms:
    """A model call at its planned cost; a second of a core at that of the plan's busy seconds, each of so many threads.

    Where whole machines are paid by the clock, a core's second is what the plan's service time makes of a call.
    """
    if manifest.cost is None:
        return Terms(usd_per_request=0.0, usd_per_s=0.0)
    deployment = manifest.deployment
    usd_per_request = manifest.cost.usd_per_million / MILLION
    if not usd_per_busy_s and manifest.service is not None:
        size = deployment.batch_size
        usd_per_busy_s = usd_per_request * size / manifest.service.seconds(size, TYPICAL_LENGTH)
    return Terms(usd_per_request=usd_per_request, usd_per_s=usd_per_busy_s / deployment.threads)
