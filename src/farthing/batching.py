"""When a batch is closed: one policy for the queue simulation, the load run and serving."""

from collections.abc import Sequence
from dataclasses import dataclass


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
        if not self.bucketing or len(lengths) <= self.batch_size:
            return list(range(min(self.batch_size, len(lengths))))
        nearest = sorted(range(len(lengths)), key=lambda i: (abs(lengths[i] - lengths[0]), i))
        return sorted(nearest[: self.batch_size])
