"""What is read out of a decision."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from farthing import facts
from farthing.results import Decision
from farthing.testing import decisions


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
    assert facts.wanted(decisions.saves()) == [
        "spearman may drop by at most 0.005, shown at 95% confidence",
        "server traffic at 50 requests per second",
        "latency: p99 up to 50 ms",
    ]


def priced(observed_at: str) -> Decision:
    """`saves`, with every price seen on that day."""
    decision = decisions.saves()
    assert decision.baseline.cost is not None
    lines = tuple(replace(line, observed_at=observed_at) for line in decision.baseline.cost.lines)
    baseline = replace(decision.baseline, cost=replace(decision.baseline.cost, lines=lines))
    return replace(decision, baseline=baseline, chosen=baseline)


def test_a_price_is_old_the_day_after_its_shelf_life_ends() -> None:
    seen = date(2024, 2, 21)
    last = seen + timedelta(days=facts.PRICE_SHELF_DAYS)
    assert facts.old_prices(priced("2024-02-21"), last) == ""
    told = facts.old_prices(priced("2024-02-21"), last + timedelta(days=1))
    assert "2024-02-21 (181 days before this report)" in told


@pytest.mark.parametrize("no_date", ("", "given in the job"))
def test_a_price_without_a_date_is_not_called_old(no_date: str) -> None:
    assert facts.old_prices(priced(no_date), date(2030, 1, 1)) == ""


def test_certificates_stand_worst_first_whatever_their_limit() -> None:
    chosen = decisions.slices().chosen
    assert chosen is not None
    order = [(test.metric, test.slice) for test in facts.worst_first(chosen.certificates)]
    assert order == [
        ("spearman", "fr"), ("accuracy", None), ("spearman", "de"), ("spearman", "en"), ("spearman", None),
    ]  # fmt: skip
    failed = replace(chosen.certificates[1], verdict="FAIL")
    assert facts.worst_first((*chosen.certificates, failed))[0] == failed
    assert facts.tightest(chosen) == chosen.certificates[-1]


def test_a_floor_on_the_minimum_leaves_what_lies_above_it() -> None:
    decision = decisions.slices()
    assert decision.chosen is not None
    only = replace(decision.chosen, certificates=decision.chosen.certificates[1:2])
    lost = facts.drop(only)
    assert lost is not None
    assert lost.value == pytest.approx(0.001) and lost.high == pytest.approx(0.01)
    assert facts.max_drop(replace(decision, chosen=only)) == pytest.approx(0.012)


def test_the_headline_is_the_bill_of_a_month() -> None:
    told = "$20.76 a month becomes $4.13: 80.1% less, with quality proven within your limits."
    assert facts.headline(decisions.saves()) == told
    assert facts.headline(decisions.keep()) == decisions.keep().summary


def test_ceilings_that_are_missed_are_named() -> None:
    assert facts.missed(decisions.saves(), decisions.saves().baseline) == ""
    assert facts.missed(decisions.nothing(), decisions.nothing().baseline) == "p99 up to 4 ms"


def test_what_was_modelled_is_known_as_such() -> None:
    cost = decisions.saves().baseline.cost
    assert cost is not None
    assert facts.is_modelled(replace(cost, energy_source="measured by RAPL; idle time modelled, not measured"))
    assert not facts.is_modelled(replace(cost, energy_source="measured by RAPL"))
