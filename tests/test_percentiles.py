"""Percentiles: how many samples they need, and whether their intervals hold what they promise."""

import numpy as np
import pytest

from farthing.errors import TooFewSamples
from farthing.percentiles import latency_figures, percentile_interval, samples_needed


def test_p99_at_95_percent_needs_299_samples():
    assert samples_needed(99) == 299
    assert samples_needed(95) == 59
    assert samples_needed(50) == 5


def test_too_few_samples_are_refused_with_the_number_that_is_needed():
    with pytest.raises(TooFewSamples, match="needs 299 samples, there are 298"):
        percentile_interval(range(298), 99)
    assert percentile_interval(range(299), 99)[2] == 298


def test_figures_leave_out_what_the_samples_cannot_support():
    assert [f.name for f in latency_figures([0.01] * 100, "p")] == ["latency_p50_s", "latency_p95_s"]
    assert [f.name for f in latency_figures([0.01] * 4, "p")] == []


@pytest.mark.parametrize("p", [50.0, 95.0, 99.0])
def test_each_bound_covers_the_true_percentile_in_95_percent_of_draws(p):
    generator = np.random.default_rng(0)
    truth, trials = -np.log(1 - p / 100), 1000
    lows = highs = 0
    for _ in range(trials):
        _, low, high = percentile_interval(generator.exponential(size=400), p)
        lows += low <= truth
        highs += high >= truth
    margin = 3 * np.sqrt(0.05 * 0.95 / trials)
    assert lows / trials >= 0.95 - margin
    assert highs / trials >= 0.95 - margin
    if p == 50.0:  # the intervals are not merely infinite
        assert highs / trials <= 0.99
