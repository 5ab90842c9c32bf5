"""Bounds hold at every moment; a worse version is found, a like one promoted, and neither by chance too often."""

import numpy as np
import pytest

from farthing.betting import rate_above, rate_below
from farthing.errors import JobError
from farthing.rollout import Evidence, Margins, judge
from farthing.rollout.mean import Mean

SLOW_S = 0.05


def watched(
    num_requests: int, seed: int, *, failed: float = 0.0, slow: float = 0.05, differs: float = 0.01, cost: float = 1.0
) -> list[str]:
    """Verdicts, asked after each 250 requests to either version."""
    random, evidence, verdicts = np.random.default_rng(seed), Evidence(slow_s=SLOW_S), []
    for i in range(num_requests):
        for arm, how_failed, how_slow, relative in (
            (evidence.stable, 0.001, 0.05, 1.0),
            (evidence.candidate, failed, slow, cost),
        ):
            arm.answered(2 * SLOW_S if random.random() < how_slow else SLOW_S / 2, SLOW_S, failed=random.random() < how_failed)
            arm.batch(relative * random.gamma(20.0, 1 / 20.0), 1.0)
        evidence.compare(differs=bool(random.random() < differs))
        if i % 250 == 249:
            verdicts.append(judge(evidence, Margins()).verdict)
            if verdicts[-1] != "open":
                break
    return verdicts


@pytest.mark.parametrize(
    "worse", [{"failed": 0.05}, {"slow": 0.2}, {"differs": 0.15}, {"cost": 1.4}], ids=lambda w: next(iter(w))
)
def test_a_version_that_is_worse_in_one_thing_is_found(worse: dict[str, float]) -> None:
    verdicts = watched(5000, 0, **worse)
    assert verdicts[-1] == "worse" and len(verdicts) < 12


def test_a_version_that_is_as_good_is_promoted_and_not_at_once() -> None:
    verdicts = watched(8000, 1)
    assert verdicts[-1] == "no worse" and verdicts[0] == "open"


@pytest.mark.parametrize(
    "edge", [{"failed": 0.011}, {"slow": 0.1}, {"differs": 0.05}, {"cost": 1.1}], ids=lambda w: next(iter(w))
)
def test_at_the_margin_it_is_rarely_judged_either_way(edge: dict[str, float]) -> None:
    ends = [watched(1000, seed, **edge)[-1] for seed in range(16)]
    assert ends.count("no worse") <= 3 and ends.count("worse") <= 3


def test_a_reason_names_what_is_worse_and_by_how_much() -> None:
    evidence = Evidence(slow_s=SLOW_S)
    for i in range(400):
        evidence.stable.answered(0.01, SLOW_S)
        evidence.candidate.answered(0.01, SLOW_S, failed=i % 4 == 0)
    assert judge(evidence, Margins()).reason.startswith("failed: worse (between 0.1")


def test_bounds_of_a_rate_hold_at_every_moment() -> None:
    random, missed = np.random.default_rng(2), 0
    for _ in range(200):
        counts = np.cumsum(random.random(600) < 0.03)
        missed += any(
            not rate_below(n, int(counts[n - 1]), 0.05) <= 0.03 <= rate_above(n, int(counts[n - 1]), 0.05)
            for n in range(20, 601, 20)
        )
    assert missed <= 30  # two sides at 0.05 each: 20 expected at most
    assert rate_below(100, 0, 0.05) == 0.0 and rate_above(0, 0, 0.05) > 0.99


def test_bounds_of_a_mean_hold_at_every_moment() -> None:
    random, missed, widths = np.random.default_rng(3), 0, []
    for _ in range(200):
        mean, outside = Mean(alpha=0.05), False
        for value in random.beta(2.0, 6.0, 500):
            mean.add(float(value))
            low, high = mean.bounds
            outside |= not low <= 0.25 <= high
        missed += outside
        widths.append(high - low)
    assert missed <= 10 and float(np.mean(widths)) < 0.1


def test_evidence_is_written_down_and_gone_on_with() -> None:
    evidence = Evidence(slow_s=SLOW_S)
    evidence.candidate.answered(0.01, SLOW_S, failed=True)
    evidence.candidate.batch(1.0, 2.0)
    evidence.compare(differs=True)
    assert Evidence.of(evidence.facts()) == evidence


def test_margins_are_shares() -> None:
    with pytest.raises(JobError, match=r"slow = 0.0: a share between 0 and 1"):
        Margins(slow=0.0)
