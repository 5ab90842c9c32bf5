"""The semantic cache: a text is given the model's answer to its nearest neighbour, inside a budget of wrong hits."""

import asyncio
import hashlib
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from farthing.caching.guards import refuses
from farthing.caching.neighbours import Neighbours, neighbours
from farthing.caching.watch import Watch
from farthing.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """From which cosine on a neighbour's answer may stand, as `farthing.calibration.calibrate` found it: valid up to so many
    entries, for wrong hits of at most `budget` per request with confidence 1 - alpha."""

    cosine: float
    budget: float
    max_entries: int
    alpha: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    answer: bytes
    neighbour: str
    cosine: float
    shadow: bool  # the model is to be asked as well, and the answers compared


@dataclass(slots=True)
class _Shelf:
    """What one tenant has: slots filled one by one, then by CLOCK (Corbató 1968): the hand spares once who was of use."""

    found: Neighbours
    texts: list[str] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    expires_s: list[float] = field(default_factory=list)
    used: list[bool] = field(default_factory=list)
    slots: dict[str, int] = field(default_factory=dict)
    hand: int = 0


@dataclass(slots=True, kw_only=True)
class Semantic:
    """Knows of no model and no clock but its own; `Front` asks it between the exact cache and the model.

    - Only the model's own answers are kept, never a neighbour's: an error does not breed.
    - A text is answered by a neighbour once; asked again, the model answers and the exact cache keeps it. So a wrong hit on a
      popular text is one wrong hit, and the rate among distinct texts, which was calibrated, bounds the rate per request.
    - A share of hits is shadowed by the model; when `watch` says that the budget is broken, there are no more hits.

    `embed` gives one vector (width,) for a text, or None where it cannot, and the seconds of a core that it took; `differs`
    says whether two answers are different ones in the floor's sense.
    """

    embed: Callable[[str], Awaitable[tuple[Array | None, float]]]
    differs: Callable[[Any, Any], bool]
    threshold: Threshold
    guard: Callable[[str, str], str | None] = refuses
    shadow_share: float = 0.05
    ttl_s: float = float("inf")
    most_tenants: int = 100  # the one that was idle longest is forgotten
    seed: int = 0
    watch: Watch = field(init=False)
    refused: dict[str, int] = field(default_factory=dict)  # by the guard, reason -> how often
    _shelves: OrderedDict[str, _Shelf] = field(default_factory=OrderedDict)
    _answered: OrderedDict[bytes, None] = field(default_factory=OrderedDict)  # texts that a neighbour has answered
    _draw: random.Random = field(init=False)

    def __post_init__(self) -> None:
        """Raises ValueError for a share, threshold or budget that is none."""
        if not -1.0 <= self.threshold.cosine <= 1.0 or self.threshold.max_entries < 1:
            raise ValueError(f"{self.threshold} is no threshold: the cosine lies in [-1, 1], and at least one entry is kept")
        self.watch = Watch(budget=self.threshold.budget, shadow_share=self.shadow_share, alpha=self.threshold.alpha)
        self._draw = random.Random(self.seed)

    @property
    def is_on(self) -> bool:
        return not self.watch.broken

    def describe(self) -> str:
        """One sentence: how it stands with its budget."""
        watch = self.watch
        seen = f"{watch.wrong} of {watch.shadowed} shadowed hits in {watch.requests} requests were wrong"
        if watch.broken:
            return f"off for good: {seen}, beyond chance for a budget of {self.threshold.budget:g}; calibrate it anew"
        return f"on: {seen}; at most {watch.upper_bound():.2g} wrong hits per request, of {self.threshold.budget:g} allowed"

    def look(self, tenant: str, text: str, vector_D: Array) -> Hit | None:
        """The neighbour's answer, where it may stand. Counts the request unless it is to be shadowed: then `observe` does."""
        hit = self._look(tenant, text, vector_D) if self.is_on else None
        if hit is None or not hit.shadow:
            self.watch.request()
        return hit

    def observe(self, hit: Hit, answer: Any, given: Any) -> None:
        """The model's answer to a shadowed text, and what the hit gave."""
        self.watch.request(shadowed=True, wrong=bool(self.differs(given, answer)))
        if self.watch.broken:
            self._shelves.clear()

    def add(self, tenant: str, text: str, vector_D: Array, answer: bytes) -> None:
        """Keep the model's own answer."""
        if not self.is_on:
            return
        shelf = self._shelf(tenant, len(vector_D))
        slot = shelf.slots.get(text)
        if slot is None:
            slot = self._slot(shelf)
            shelf.texts[slot], shelf.slots[text] = text, slot
            shelf.found.fill(slot, unit(vector_D))
        shelf.answers[slot], shelf.expires_s[slot], shelf.used[slot] = answer, time.monotonic() + self.ttl_s, False

    def clear(self, tenant: str) -> None:
        self._shelves.pop(tenant, None)

    def _look(self, tenant: str, text: str, vector_D: Array) -> Hit | None:
        shelf = self._shelves.get(tenant)
        if shelf is None:
            return None
        slot, cosine = shelf.found.nearest(unit(vector_D))
        if slot < 0 or cosine < self.threshold.cosine:
            return None
        if shelf.expires_s[slot] <= time.monotonic():
            self._forget(shelf, slot)
            return None
        if reason := self.guard(text, shelf.texts[slot]):
            self.refused[reason] = self.refused.get(reason, 0) + 1
            return None
        if self._answered_before(tenant, text):
            return None
        shelf.used[slot] = True
        shadow = self._draw.random() < self.shadow_share
        return Hit(answer=shelf.answers[slot], neighbour=shelf.texts[slot], cosine=cosine, shadow=shadow)

    def _answered_before(self, tenant: str, text: str) -> bool:
        name = hashlib.blake2b(f"{len(tenant)}:{tenant}{text}".encode("utf-8", "surrogatepass"), digest_size=12).digest()
        if name in self._answered:
            return True
        self._answered[name] = None
        if len(self._answered) > 4 * self.threshold.max_entries:
            self._answered.popitem(last=False)
        return False

    def _shelf(self, tenant: str, width: int) -> _Shelf:
        shelf = self._shelves.get(tenant)
        if shelf is None:
            shelf = self._shelves[tenant] = _Shelf(found=neighbours(self.threshold.max_entries, width))
            if len(self._shelves) > self.most_tenants:
                self._shelves.popitem(last=False)
        self._shelves.move_to_end(tenant)
        return shelf

    def _slot(self, shelf: _Shelf) -> int:
        if len(shelf.texts) < self.threshold.max_entries:
            shelf.texts.append("")
            shelf.answers.append(b"")
            shelf.expires_s.append(0.0)
            shelf.used.append(False)
            return len(shelf.texts) - 1
        while shelf.used[shelf.hand]:
            shelf.used[shelf.hand] = False
            shelf.hand = (shelf.hand + 1) % len(shelf.texts)
        slot, shelf.hand = shelf.hand, (shelf.hand + 1) % len(shelf.texts)
        self._forget(shelf, slot)
        return slot

    def _forget(self, shelf: _Shelf, slot: int) -> None:
        shelf.slots.pop(shelf.texts[slot], None)
        shelf.found.empty(slot)
        shelf.answers[slot] = b""
        shelf.expires_s[slot] = 0.0


def in_thread(embed: Callable[[str], Array]) -> Callable[[str], Awaitable[tuple[Array | None, float]]]:
    """A blocking `embed` beside the event loop; its seconds are taken by the clock."""

    def timed(text: str) -> tuple[Array | None, float]:
        started_s = time.perf_counter()
        return embed(text), time.perf_counter() - started_s

    async def embedded(text: str) -> tuple[Array | None, float]:
        return await asyncio.to_thread(timed, text)

    return embedded


def unit(vector_D: Array) -> Array:
    """Of length 1; a vector of zeros stays, and is near to nothing."""
    length = float(np.linalg.norm(vector_D))
    return np.asarray(vector_D, np.float32) / np.float32(length or 1.0)
