"""Traffic in the terms of a bill: requests a month, and the rate that the machines must carry."""

from dataclasses import dataclass

import numpy as np

from farthing.traffic import rate_per_s, read_trace
from farthing.types import Traffic
from farthing.units import SECONDS_PER_HOUR, SECONDS_PER_MONTH, from_minutes

RUNS_PER_MONTH = SECONDS_PER_MONTH / (24 * SECONDS_PER_HOUR)  # offline: one run a day


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    requests_per_month: float | None  # None: as many as a single stream answers, back to back
    peak_rate_per_s: float  # 0.0: any single machine will do
    requests_per_run: float | None = None  # offline: machines are rented while a run lasts; None: all month


def demand_of(traffic: Traffic) -> Demand:
    """server: the rate, or the trace's busiest minute, and its mean all month; offline: items / deadline, one run a day.

    Raises DataError for a trace that cannot be read.
    """
    if traffic.scenario == "offline":
        assert traffic.num_items, "checked when the job was read"
        return Demand(
            requests_per_month=traffic.requests_per_month or traffic.num_items * RUNS_PER_MONTH,
            peak_rate_per_s=traffic.num_items / traffic.deadline_s if traffic.deadline_s else 0.0,
            requests_per_run=traffic.num_items,
        )
    if traffic.scenario == "single_stream":
        return Demand(requests_per_month=traffic.requests_per_month, peak_rate_per_s=0.0)
    mean = rate_per_s(traffic)
    assert mean, "checked when the job was read"
    return Demand(
        requests_per_month=traffic.requests_per_month or mean * SECONDS_PER_MONTH,
        peak_rate_per_s=mean * _peak_to_mean(traffic),
    )


def _peak_to_mean(traffic: Traffic) -> float:
    """Rate of the busiest minute / mean rate; 1 for Poisson arrivals, whose bursts the simulated queue already carries."""
    if traffic.trace is None:
        return 1.0
    times_s = read_trace(traffic.trace)
    span_s = times_s[-1] - times_s[0]
    window_s = min(from_minutes(1.0), span_s)
    most = np.max(np.searchsorted(times_s, times_s + window_s, side="left") - np.arange(len(times_s)))
    return max(1.0, float(most / window_s) / float((len(times_s) - 1) / span_s))
