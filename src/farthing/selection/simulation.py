"""A deployment simulated: its fitted service times, a queue, the batch policy, and the job's own arrivals and lengths."""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from farthing.batching import BUCKETING_WINDOW, BatchPolicy
from farthing.results import ServiceModel
from farthing.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    latencies_s: Array  # (n,)
    busy_s: float  # stream-seconds of work
    elapsed_s: float
    num_batches: int = 0

    @property
    def busy_s_per_request(self) -> float:
        return self.busy_s / len(self.latencies_s)

    def utilization(self, streams: int) -> float:
        return self.busy_s / (self.elapsed_s * streams)


def simulate(
    service: ServiceModel,
    policy: BatchPolicy,
    arrivals_s: Array,
    lengths: Array,
    *,
    scatter: Array | None = None,
    between_s: float = 0.0,
) -> Simulated:
    """Event by event: whenever a stream is idle and the policy would close a batch, it runs T(b, longest of the batch).

    `arrivals_s` (n,) ascending and `lengths` (n,) are one replica's share of the traffic. `scatter` (n,): the i-th batch takes
    scatter[i] times what the model says. `between_s`: of each batch, when its stream is taken and no model runs.
    """
    idle = [0.0] * service.streams  # heap of the moments at which each stream falls idle
    waiting: deque[int] = deque()
    latencies_s, busy_s, upcoming, n, num_batches = np.empty(len(arrivals_s)), 0.0, 0, len(arrivals_s), 0
    end_s = 0.0
    while upcoming < n or waiting:
        free_s = heapq.heappop(idle)
        if not waiting:
            waiting.append(upcoming)
            upcoming += 1
        start_s = max(free_s, arrivals_s[waiting[0]])
        while True:  # later arrivals may join, or complete the batch sooner
            while upcoming < n and arrivals_s[upcoming] <= start_s:
                waiting.append(upcoming)
                upcoming += 1
            close_s = policy.close_at([arrivals_s[i] for i in islice(waiting, policy.batch_size)])
            if close_s <= start_s:
                break
            next_s = arrivals_s[upcoming] if upcoming < n else np.inf
            start_s = min(close_s, next_s)
        window = list(islice(waiting, BUCKETING_WINDOW * policy.batch_size))
        batch = [window[i] for i in policy.pick([int(lengths[i]) for i in window])]
        for i in batch:
            waiting.remove(i)
        seconds = service.seconds(len(batch), float(max(lengths[i] for i in batch)))
        seconds *= 1.0 if scatter is None else scatter[num_batches]
        num_batches += 1
        busy_s += seconds
        free_s = start_s + seconds + between_s
        end_s = max(end_s, free_s)
        latencies_s[batch] = free_s - arrivals_s[batch]
        heapq.heappush(idle, free_s)
    elapsed_s = end_s - float(arrivals_s[0])
    return Simulated(latencies_s=latencies_s, busy_s=busy_s, elapsed_s=elapsed_s, num_batches=num_batches)


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
