"""How figures are written, and what is read out of a decision."""

import math

import pytest

from farthing.reporting import facts
from farthing.testing import decisions


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "$0.00"), (0.0314, "$0.0314"), (0.00251, "$0.00251"), (1.5, "$1.50"), (-20.756, "-$20.76"), (12345.6, "$12,346")],
)
def test_usd(value: float, text: str) -> None:
    assert facts.usd(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (5e-5, "0.00005"),
        (0.82031, "0.8203"),
        (100, "100"),
        (123456, "123,456"),
        (2e-9, "2e-09"),
        (math.inf, "unbounded"),
    ],
)
def test_plain(value: float, text: str) -> None:
    assert facts.plain(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(2e-5, "20 µs"), (0.0093, "9.3 ms"), (3.2, "3.2 s"), (1062, "17.7 min"), (9000, "2.5 h"), (1e6, "12 days")],
)
def test_seconds(value: float, text: str) -> None:
    assert facts.seconds(value) == text


def test_percent() -> None:
    assert [facts.percent(share) for share in (0.801, 0.9994, 1.0, -0.05)] == ["80.1%", "99.94%", "100.0%", "-5.0%"]


def test_everyone_once() -> None:
    decision = decisions.saves()
    found = facts.everyone(decision)
    assert found[0] == decision.chosen and found[1] == decision.baseline
    assert len(found) == len(decision.candidates) + len(decision.rejected)


def test_the_nearest_are_those_whose_bound_misses_by_least() -> None:
    decision = decisions.saves()
    near = facts.nearest(decision)
    assert [c.certificates[0].upper_bound for c in near[:2]] == [0.0030, 0.0057]
    assert not near[2].certificates  # then by cost


def test_a_measured_figure_hides_the_prediction_of_the_same_name() -> None:
    measured = facts.estimate(decisions.saves().baseline, "latency_p99_s")
    guessed = facts.estimate(decisions.saves().candidates[3], "latency_p99_s")
    assert measured is not None and not measured.predicted
    assert guessed is not None and guessed.predicted and guessed.origin == "queue simulation"
    assert facts.estimate(decisions.saves().baseline, "no_such_figure") is None


def test_what_was_asked_in_words() -> None:
    assert facts.asked(decisions.saves()) == [
        "spearman may drop by at most 0.005, shown at 95% confidence",
        "server traffic at 50 requests per second",
        "latency: p99 up to 50 ms",
    ]
