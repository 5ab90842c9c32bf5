"""What becomes of a batch that failed: second tries, within a budget, until only the item stands alone that is to blame.

A model that raises says so and lives: the batch is halved, and an item that fails alone is tried once more on another replica.
If it fails there too, it is to blame; if not, its first replica is (`farthing.pooling.outliers`). A process that dies or hangs
takes everything with it that it held, and each attempt costs a process: each of those items is tried alone, with nothing beside
it in its replica, and one that loses that replica as well is to blame. Blamed items are refused, now and for QUARANTINE_S;
of each is kept its digest and REASON_CHARACTERS of why, of MOST_QUARANTINED at most.
"""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from farthing.pooling.outliers import retry_budget
from farthing.serving.pending import Pending, Refused

MOST_QUARANTINED = 4_096
REASON_CHARACTERS = 300  # whoever sends poison decides what a model says of it
QUARANTINE_S = 600.0  # what broke the item may be mended by then


@dataclass(slots=True, eq=False, kw_only=True)
class Try:
    """One batch on its way to a replica."""

    items: list[Pending]
    is_retry: bool = False
    alone: bool = False  # nothing else may run in its replica
    not_on: str = ""  # the replica that failed on it


@dataclass(slots=True, eq=False)
class Retries:
    waiting: deque[Try] = field(default_factory=deque)
    num_running: int = 0
    num_started: int = 0  # since the start
    quarantine: dict[bytes, tuple[str, float]] = field(default_factory=dict)  # digest -> why, and when; the oldest first
    refusal: Refused | None = None  # of whatever would have to be tried again: the server stops

    @property
    def num_items(self) -> int:
        return sum(len(one.items) for one in self.waiting)

    def banned(self, item: Pending, now: float) -> str | None:
        """Why this item is not tried."""
        if not self.quarantine:
            return None
        reason, blamed_s = self.quarantine.get(item.digest, (None, 0.0))
        return reason if now - blamed_s < QUARANTINE_S else None

    def expire(self, now: float) -> None:
        for one in self.waiting:
            one.items = [item for item in one.items if not item.is_over(now)]
        self.waiting = deque(one for one in self.waiting if one.items)

    def next(self, num_active: int, fits: Callable[[Try], bool]) -> Try | None:
        """The oldest that has a place, if the budget of `num_active` batches (under way or waiting) allows one more."""
        if self.num_running >= retry_budget(num_active):
            return None
        found = next((one for one in self.waiting if fits(one)), None)
        if found is not None:
            self.waiting.remove(found)
            self.num_started += 1
        return found

    def failed(self, items: list[Pending], replica: str, reason: str, *, has_another: bool) -> None:
        """The model raised on these, or answered what is no answer."""
        if len(items) > 1:
            middle = len(items) // 2
            for half in (items[:middle], items[middle:]):
                self.add(Try(items=half, is_retry=True))
        elif has_another and not items[0].failed_on:
            items[0].failed_on = replica
            self.add(Try(items=items, is_retry=True, not_on=replica))
        else:
            self._blame(items[0], reason)

    def lost(self, lost: Try, reason: str) -> None:
        """Their replica died or hung."""
        for item in lost.items:
            item.num_losses += 1
            if lost.alone and item.num_losses > 1:
                self._blame(item, reason)
            else:
                self.add(Try(items=[item], is_retry=True, alone=True))

    def add(self, one: Try, *, first: bool = False) -> None:
        if self.refusal is not None:
            for item in one.items:
                item.refuse(self.refusal)
        elif first:
            self.waiting.appendleft(one)
        else:
            self.waiting.append(one)

    def refuse(self, refusal: Refused) -> None:
        """All that wait."""
        for one in self.waiting:
            for item in one.items:
                item.refuse(refusal)
        self.waiting.clear()

    def _blame(self, item: Pending, reason: str) -> None:
        digest, now = item.digest, time.monotonic()
        reason = reason if len(reason) <= REASON_CHARACTERS else reason[:REASON_CHARACTERS] + "..."
        self.quarantine.pop(digest, None)
        self.quarantine[digest] = reason, now
        while len(self.quarantine) > MOST_QUARANTINED or self._oldest_s() <= now - QUARANTINE_S:
            del self.quarantine[next(iter(self.quarantine))]
        item.refuse(Refused(500, f"the model failed on this item: {reason}"))

    def _oldest_s(self) -> float:
        return next((blamed_s for _, blamed_s in self.quarantine.values()), math.inf)
