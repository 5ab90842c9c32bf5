"""A deployment simulated: its fitted service times, a queue, the batch policy, and the job's own arrivals and lengths."""

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from farthing.batching import BUCKETING_WINDOW, BatchPolicy
from farthing.results import ServiceModel
from farthing.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    latencies_s: Array  # (n,); infinite: its deadline could not be kept and it was refused
    busy_s: float  # stream-seconds of work
    elapsed_s: float
    num_batches: int = 0

    @property
    def busy_s_per_request(self) -> float:
        return self.busy_s / len(self.latencies_s)

    def utilization(self, streams: int) -> float:
        return self.busy_s / (self.elapsed_s * streams)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What a plan does not know and a service has learned.

    `scatter`: the i-th batch takes scatter[i] times what the model says. `between_s`: of each batch, when its stream is taken
    and no model runs. `deadline_s`, of each item from its arrival: as the scheduler does, who cannot be answered in time when
    its turn comes is refused, its batch reckoned to take `margin` times what the model says while others wait.
    """

    scatter: Array | None = None
    between_s: float = 0.0
    deadline_s: float = math.inf
    margin: float = 1.0


PLANNED = Learned()


def simulate(
    service: ServiceModel, policy: BatchPolicy, arrivals_s: Array, lengths: Array, learned: Learned = PLANNED
) -> Simulated:
    """Event by event: whenever a stream is idle and the policy would close a batch, it runs T(b, longest of the batch).

    `arrivals_s` (n,) ascending and `lengths` (n,) are one replica's share of the traffic.
    """
    idle = [0.0] * service.streams  # heap of the moments at which each stream falls idle
    queue = _Queue(service=service, policy=policy, arrivals_s=arrivals_s, lengths=lengths, learned=learned)
    latencies_s, busy_s, num_batches, end_s = np.full(len(arrivals_s), np.inf), 0.0, 0, 0.0
    while queue.holds:
        start_s = queue.starts_at(free_s := heapq.heappop(idle))
        if batch := queue.taken(start_s):
            seconds = queue.seconds(batch) * (1.0 if learned.scatter is None else learned.scatter[num_batches])
            num_batches += 1
            busy_s += seconds
            free_s = start_s + seconds + learned.between_s
            end_s = max(end_s, free_s)
            latencies_s[batch] = free_s - arrivals_s[batch]
        heapq.heappush(idle, free_s)
    elapsed_s = end_s - float(arrivals_s[0])
    return Simulated(latencies_s=latencies_s, busy_s=busy_s, elapsed_s=elapsed_s, num_batches=num_batches)


@dataclass(slots=True, kw_only=True)
class _Queue:
    service: ServiceModel
    policy: BatchPolicy
    arrivals_s: Array
    lengths: Array
    learned: Learned
    waiting: deque[int] = field(default_factory=deque)
    upcoming: int = 0

    @property
    def holds(self) -> bool:
        return self.upcoming < len(self.arrivals_s) or bool(self.waiting)

    def seconds(self, batch: Sequence[int]) -> float:
        return self.service.seconds(len(batch), float(max(self.lengths[i] for i in batch)))

    def starts_at(self, free_s: float) -> float:
        """When the next batch of a stream that is idle from `free_s` on starts; all that came by then waits."""
        if not self.waiting:
            self._comes()
        start_s = max(free_s, float(self.arrivals_s[self.waiting[0]]))
        while True:  # later arrivals may join, or complete the batch sooner
            while self._next_s() <= start_s:
                self._comes()
            close_s = self.policy.close_at([self.arrivals_s[i] for i in islice(self.waiting, self.policy.batch_size)])
            if close_s <= start_s:
                return start_s
            start_s = min(close_s, self._next_s())

    def _next_s(self) -> float:
        return float(self.arrivals_s[self.upcoming]) if self.upcoming < len(self.arrivals_s) else math.inf

    def _comes(self) -> None:
        self.waiting.append(self.upcoming)
        self.upcoming += 1

    def taken(self, start_s: float) -> list[int]:
        """The batch that starts; empty where none of those that wait can be answered in time."""
        batch = self._picked()
        if math.isfinite(self.learned.deadline_s):
            while hopeless := [i for i in batch if self._late(i, [i], start_s)]:
                self._leave(hopeless)
                batch = self._picked()
            while len(batch) > 1 and any(self._late(i, batch, start_s) for i in batch):
                del batch[-1]
        self._leave(batch)
        return batch

    def _picked(self) -> list[int]:
        window = list(islice(self.waiting, BUCKETING_WINDOW * self.policy.batch_size))
        return [window[i] for i in self.policy.pick([int(self.lengths[i]) for i in window])]

    def _late(self, i: int, batch: Sequence[int], start_s: float) -> bool:
        margin = self.learned.margin if len(self.waiting) > len(batch) else 1.0
        end_s = start_s + self.seconds(batch) * margin + self.learned.between_s
        return bool(end_s > self.arrivals_s[i] + self.learned.deadline_s)

    def _leave(self, gone: Sequence[int]) -> None:
        for i in gone:
            self.waiting.remove(i)


def simulate_offline(service: ServiceModel, policy: BatchPolicy, lengths: Array) -> Simulated:
    """All items are there at once: batches in order (sorted by length with bucketing), dealt to the streams."""
    ordered = np.sort(lengths)[::-1] if policy.bucketing else lengths
    batches = [ordered[i : i + policy.batch_size] for i in range(0, len(ordered), policy.batch_size)]
    seconds = [service.seconds(len(batch), float(batch.max())) for batch in batches]
    loads = [0.0] * service.streams
    for s in seconds:
        heapq.heapreplace(loads, loads[0] + s)
    elapsed_s = max(loads)
    return Simulated(latencies_s=np.full(len(lengths), elapsed_s), busy_s=float(sum(seconds)), elapsed_s=elapsed_s)


def simulate_single_stream(service: ServiceModel, lengths: Array) -> Simulated:
    seconds = np.array([service.seconds(1, float(n)) for n in lengths])
    return Simulated(latencies_s=seconds, busy_s=float(seconds.sum()), elapsed_s=float(seconds.sum()))


def meets(simulated: Simulated, ceilings: Sequence[tuple[float, float]]) -> bool:
    return all(np.percentile(simulated.latencies_s, p) <= ceiling_s for p, ceiling_s in ceilings)
