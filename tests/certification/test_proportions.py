"""Bounds for proportions: against the equations they solve, and their true error by summing over every outcome."""

import math

import numpy as np
import pytest
from scipy.stats import binom, multinomial

from farthing.certification.proportions import clopper_pearson, paired_difference, pairs_needed

ALPHA = 0.05


def test_clopper_pearson_solves_its_equations() -> None:
    lower, upper = clopper_pearson(3, 50, ALPHA)
    assert binom.cdf(3, 50, upper) == pytest.approx(ALPHA)
    assert binom.sf(2, 50, lower) == pytest.approx(ALPHA)
    assert clopper_pearson(0, 100, ALPHA) == (0.0, pytest.approx(1 - ALPHA ** (1 / 100)))
    assert clopper_pearson(50, 50, ALPHA)[1] == 1.0


def test_the_interval_inverts_the_score_test() -> None:
    lost, won, n = 30, 18, 400
    lower, upper = paired_difference(lost, won, n, ALPHA)
    assert lower == -paired_difference(won, lost, n, ALPHA)[1]
    for difference in (lower, upper):  # at the bound, |score| is the normal quantile; p from its quadratic, independently
        roots = np.roots([2 * n, -lost - won + (2 * n - lost + won) * difference, -won * difference * (1 - difference)])
        p = roots.max()
        score = (lost - won - n * difference) / math.sqrt(n * (2 * p + difference * (1 - difference)))
        assert abs(score) == pytest.approx(1.6449, abs=1e-3)


@pytest.mark.parametrize("num_items", [100, 268, 450])
@pytest.mark.parametrize("discordance", [1.0, 1.5, 4.0])
def test_false_acceptance_at_the_margin(num_items: int, discordance: float) -> None:
    """Exact, over all outcomes, also with few discordant pairs: the score test alone lets 6.8% through at 268 and 1.0."""
    margin = 0.01
    lost, won = margin * (discordance + 1) / 2, margin * (discordance - 1) / 2
    counts = np.array([(b, c) for b in range(40) for c in range(40) if b + c <= num_items])
    outcomes = np.column_stack([counts, num_items - counts.sum(axis=1)])
    probabilities = multinomial.pmf(outcomes, num_items, [lost, won, 1 - lost - won])
    possible = probabilities > 1e-7
    accepted = [paired_difference(b, c, num_items, ALPHA)[1] < margin for b, c in counts[possible]]
    assert probabilities[possible] @ accepted <= 1.1 * ALPHA


@pytest.mark.parametrize("rate", [0.0, 0.0005, 0.005, 0.02])
def test_power_on_as_many_pairs_as_needed(rate: float) -> None:
    draw = np.random.default_rng(0)
    n = math.ceil(pairs_needed(rate, rate, 0.01, alpha=ALPHA / 3, power=0.8))
    counts = draw.multinomial(n, [rate, rate, 1 - 2 * rate], size=400)
    passes = np.mean([paired_difference(b, c, n, ALPHA / 3)[1] < 0.01 for b, c, _ in counts])
    assert passes >= 0.74
    assert passes <= 0.9 or rate == 0.0  # of a lossless one without discordance, all pass


def test_no_number_of_pairs_certifies_what_is_worse() -> None:
    assert pairs_needed(0.03, 0.01, 0.01, alpha=ALPHA, power=0.8) == math.inf
