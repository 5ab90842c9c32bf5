"""When a batch is closed: one policy for the queue simulation, the load run and serving."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
BUCKETING_WINDOW = 4  # batches of the queue that are searched for items of like length


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPolicy:
    """Close a batch when it is full, or when its oldest item has waited `delay_s`. With `bucketing`, fill it by length.

    delay_s = 0 never waits: whatever is queued when a stream falls idle is taken, up to `batch_size`.
    """

    batch_size: int = 1
    delay_s: float = 0.0
    bucketing: bool = False

    def close_at(self, arrivals_s: Sequence[float]) -> float:
        """The moment at which a batch of these queued items (oldest first) should start, were a stream idle."""
        if len(arrivals_s) >= self.batch_size:
            return arrivals_s[self.batch_size - 1]
        return arrivals_s[0] + self.delay_s

    def pick(self, lengths: Sequence[int]) -> list[int]:
        """Positions, in the queue (oldest first), of the items that the next batch takes.

        The oldest item always goes, so that nothing starves; with bucketing, those nearest to it in length join it.
        """
        size = min(self.batch_size, len(lengths))
        if not self.bucketing or len(lengths) <= size:
            return list(range(size))
        window = range(min(len(lengths), BUCKETING_WINDOW * size))
        nearest = sorted(window, key=lambda i: (abs(lengths[i] - lengths[0]), i))
        return sorted(nearest[:size])


class BatchQueue(Generic[Item]):
    """The policy in real time: producers `put` items, each stream `take`s batches. Times are `time.perf_counter()`."""

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self._waiting: list[tuple[float, int, Item]] = []  # arrival, length, item; oldest first
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Item, length: int) -> None:
        with self._changed:
            self._waiting.append((time.perf_counter(), length, item))
            self._changed.notify()

    def close(self) -> None:
        """No item will follow: what waits is given out at once, then `take` returns empty batches."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self) -> list[Item]:
        """Block until the policy closes a batch; [] once the queue is closed and empty."""
        with self._changed:
            while not self._due():
                timeout_s = None
                if self._waiting:
                    timeout_s = max(0.0, self._policy.close_at([a for a, _, _ in self._waiting]) - time.perf_counter())
                self._changed.wait(timeout_s)
            picked = self._policy.pick([length for _, length, _ in self._waiting]) if self._waiting else []
            batch = [self._waiting[i][2] for i in picked]
            for i in reversed(picked):
                del self._waiting[i]
            if self._waiting:
                self._changed.notify()
            return batch

    def _due(self) -> bool:
        if not self._waiting:
            return self._closed
        return self._closed or self._policy.close_at([a for a, _, _ in self._waiting]) <= time.perf_counter()
