"""Arrival times of the job's traffic, Poisson at a rate or the gaps of a recorded trace; whether a generator kept them."""

import csv
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import numpy as np

from farthing.errors import DataError, LoadVoid
from farthing.types import Array, Traffic

LAG_SHARE = 0.1  # of the p99 latency, or of the ceiling it is held against; a larger p99 send lag voids the run
LAG_FLOOR_S = 0.002
RATE_TOLERANCE = 0.05  # by which sending may take longer than intended


def arrivals(traffic: Traffic, num_requests: int, rate_per_s: float, seed: int) -> Array:
    """(n,) seconds from the start, ascending, at `rate_per_s` in the mean.

    Without a trace, gaps are exponential. With one, its own gaps from a seeded starting point (wrapping around), scaled to
    the rate: its burstiness is kept.
    """
    generator = np.random.default_rng(seed)
    if traffic.trace is None:
        gaps_s = generator.exponential(1.0, num_requests)
    else:
        recorded_s = np.diff(read_trace(traffic.trace))
        start = int(generator.integers(len(recorded_s)))
        gaps_s = np.resize(np.roll(recorded_s, -start), num_requests)
        gaps_s = gaps_s / gaps_s.mean()
    return np.asarray(np.cumsum(gaps_s) / rate_per_s)


def rate_per_s(traffic: Traffic) -> float | None:
    """Mean requests per second: what the job says, else the trace's own; None where the scenario has no rate."""
    if traffic.rate_per_s is not None or traffic.trace is None:
        return traffic.rate_per_s
    times_s = read_trace(traffic.trace)
    return float((len(times_s) - 1) / (times_s[-1] - times_s[0]))


def check_offered(*, intended_s: float, sent_s: float, lag_p99_s: float, latency_p99_s: float, ceiling_s: float = 0.0) -> None:
    """Raises LoadVoid if a generator may have shaped the latencies of its run, or what they say about a ceiling.

    `intended_s` and `sent_s` are from the first send to the last, as they should have been and as they were. Lag counts as
    latency, since that starts at the intended time; one that is small beside what is judged changes nothing.
    """
    stretched = sent_s / intended_s
    if stretched > 1 + RATE_TOLERANCE:
        raise LoadVoid(f"void: the generator offered 1/{stretched:.3g} of the rate: drive at a lower one")
    if lag_p99_s > max(LAG_FLOOR_S, LAG_SHARE * latency_p99_s, LAG_SHARE * ceiling_s):
        raise LoadVoid(
            f"void: the generator sent {lag_p99_s * 1e3:.1f} ms late (p99): repeat on a quieter machine or at a lower rate"
        )


@lru_cache(maxsize=4)
def read_trace(path: Path) -> Array:
    """(n,) ascending seconds: the first column of a CSV with a header, ISO timestamps or numbers. Raises DataError."""
    try:
        with path.open(newline="") as file:
            rows = [row[0] for row in csv.reader(file) if row]
    except OSError as error:
        raise DataError(f"the trace {str(path)!r} cannot be read: {error.strerror}") from error
    try:
        times_s = np.array([_seconds(cell) for cell in rows[1:]])
    except ValueError as error:
        raise DataError(f"the trace {str(path)!r}: {error}; its first column must hold timestamps") from error
    if len(times_s) < 2 or np.any(np.diff(times_s) < 0) or times_s[-1] == times_s[0]:
        raise DataError(f"the trace {str(path)!r} needs at least two ascending timestamps, it has {len(times_s)}")
    return times_s


def _seconds(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return datetime.fromisoformat(cell).timestamp()
