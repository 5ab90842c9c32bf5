"""Percentiles of latency with intervals, refused where the samples cannot support them."""

import math
from collections.abc import Sequence

from farthing.errors import TooFewSamples
from farthing.results import Measurement


def samples_needed(p: float, confidence: float = 0.95) -> int:
    """Least n for which the largest of n samples bounds percentile p from above with `confidence`: p^n <= 1 - confidence.

    299 for p99 at 95% (Wilks 1941, eq. for one-sided tolerance limits).
    """
    return math.ceil(math.log(1 - confidence) / math.log(p / 100))


def interval_ranks(num_samples: int, p: float, *, confidence: float = 0.95) -> tuple[int, int, int]:
    """1-based ranks of the percentile and of the order statistics that hold the true one, one-sided each.

    P(X_(k) < x_p) = P(Binomial(n, p) >= k), without any assumption about the distribution (David & Nagaraja, eq. 7.1.2).
    Raises TooFewSamples if n < samples_needed(p).
    """
    needed = samples_needed(p, confidence)
    if num_samples < needed:
        raise TooFewSamples(
            f"p{p:g} at {confidence:.0%} confidence needs {needed} samples, there are {num_samples}: drive longer"
        )
    from scipy.stats import binom

    q = p / 100
    low = int(binom.ppf(1 - confidence, num_samples, q))  # largest k with P(Bin < k) <= 1 - confidence
    high = int(binom.ppf(confidence, num_samples, q)) + 1  # least k with P(Bin >= k) <= 1 - confidence
    return math.ceil(q * num_samples), max(low, 1), min(high, num_samples)


def percentile_interval(samples: Sequence[float], p: float, *, confidence: float = 0.95) -> tuple[float, float, float]:
    """(percentile, low, high): nearest rank, and its `interval_ranks`. Raises TooFewSamples as they do."""
    ranks = interval_ranks(len(samples), p, confidence=confidence)
    ordered = sorted(samples)
    value, low, high = (ordered[rank - 1] for rank in ranks)
    return value, low, high


def latency_figures(latencies_s: Sequence[float], protocol: str) -> tuple[Measurement, ...]:
    """latency_p50_s, p95 and p99, each only where there are samples enough."""
    figures = []
    for p in (50.0, 95.0, 99.0):
        if len(latencies_s) >= samples_needed(p):
            value, low, high = percentile_interval(latencies_s, p)
            figures.append(
                Measurement(
                    name=f"latency_p{p:g}_s", value=value, unit="s", low=low, high=high,
                    num_samples=len(latencies_s), protocol=protocol,
                )
            )  # fmt: skip
    return tuple(figures)
