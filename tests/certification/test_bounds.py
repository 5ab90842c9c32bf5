"""Bounds of a drop: against SciPy's bootstrap, between the methods, and what hides behind zero variance."""

import math
from typing import Any

import numpy as np
import pytest

from farthing.certification import bounds as module
from farthing.certification.bounds import Bounds, bounds, quick_bounds, unseen
from farthing.certification.questions import Question, questions
from farthing.results import Evidence
from farthing.types import Array, Floor

ALPHA = 0.05
DRAW = np.random.default_rng(0)
N = 300
LABELS = DRAW.standard_normal(N)
ORIGINAL = LABELS + 0.6 * DRAW.standard_normal(N)
CANDIDATE = LABELS + 0.8 * DRAW.standard_normal(N)


def ask(
    metric: str, original: Array = ORIGINAL, candidate: Array = CANDIDATE, labels: Array = LABELS, **limit: float
) -> Question:
    evidence = Evidence(original=original, candidate=candidate, labels=labels)
    (question,) = questions(evidence, Floor(metric=metric, **(limit or {"max_drop": 0.05})))  # type: ignore[arg-type]
    return question


def at_hand(found: Bounds, n: int = N) -> Array:
    return np.array(found.at(n))


def mean_error(predictions: Array, target: Array) -> float:
    return -float(np.abs(predictions - target).mean())


def minus_deviation(predictions: Array, target: Array) -> float:
    return -float(np.std(predictions - target))


@pytest.mark.parametrize("metric", ["spearman", "rmse"])
def test_bca_equals_scipys(metric: str) -> None:
    from scipy.stats import bootstrap

    question = ask(metric)

    def drop(original: Array, candidate: Array, labels: Array) -> float:
        value = question.metric.value
        return value(original, labels) - value(candidate, labels)

    theirs = bootstrap((ORIGINAL, CANDIDATE, LABELS), drop, paired=True, vectorized=False, n_resamples=4000,
                       confidence_level=1 - 2 * ALPHA, rng=1).confidence_interval  # fmt: skip
    np.testing.assert_allclose(at_hand(bounds(question, ALPHA, 0)), theirs, atol=0.06 * (theirs.high - theirs.low))


def test_bca_equals_scipys_where_the_metric_is_biased() -> None:
    """A function of one's own: the bias enters twice, the acceleration comes from a jackknife."""
    from scipy.stats import bootstrap

    errors = np.random.default_rng(2).lognormal(0, 1, 30)
    question = ask(f"{__name__}:minus_deviation", np.zeros(30), errors, np.zeros(30))
    theirs = bootstrap((errors,), np.std, n_resamples=20_000, confidence_level=0.8, rng=1).confidence_interval
    np.testing.assert_allclose(at_hand(bounds(question, 0.1, 0), 30), theirs, atol=0.03 * (theirs.high - theirs.low))


def test_bca_equals_scipys_where_losses_are_skewed() -> None:
    """There the plain percentiles, and the bounds without bias or acceleration, are elsewhere."""
    from scipy.stats import bootstrap

    turn = np.arccos(1 - np.random.default_rng(5).gamma(0.2, 0.2, 80).clip(0, 2))
    question = ask("cosine", np.tile([1.0, 0.0], (80, 1)), np.stack([np.cos(turn), np.sin(turn)], axis=1))
    theirs = bootstrap(
        (question.losses,), np.mean, n_resamples=20_000, confidence_level=1 - 2 * ALPHA, rng=1
    ).confidence_interval
    found = at_hand(bounds(question, ALPHA, 0), 80)
    np.testing.assert_allclose(found, theirs, atol=0.04 * (theirs.high - theirs.low))


@pytest.mark.parametrize("metric", ["spearman", "rmse", "roc_auc", "macro_f1@0"])
def test_influence_agrees_with_the_bootstrap(metric: str) -> None:
    labels = LABELS if metric in ("spearman", "rmse") else (LABELS > 0).astype(int)
    question = ask(metric, labels=labels)
    slow, fast = at_hand(bounds(question, ALPHA, 0)), at_hand(quick_bounds(question, ALPHA, 0))
    np.testing.assert_allclose(fast, slow, atol=0.15 * (slow[1] - slow[0]))


def test_large_samples_use_the_influence_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INFLUENCE_ABOVE", N - 1)
    found = bounds(ask("spearman"), ALPHA, 0)
    assert "influence" in found.protocol
    np.testing.assert_array_equal(at_hand(found), at_hand(quick_bounds(ask("spearman"), ALPHA, 0)))


def test_a_function_without_closed_form_is_bootstrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{__name__}:mean_error"
    monkeypatch.setattr(module, "INFLUENCE_ABOVE", N - 1)  # at any size
    found = bounds(ask(name), ALPHA, 0)
    assert "bootstrap" in found.protocol
    errors = np.abs(CANDIDATE - LABELS) - np.abs(ORIGINAL - LABELS)
    width = 1.645 * errors.std(ddof=1) / math.sqrt(N)
    np.testing.assert_allclose(at_hand(found), [errors.mean() - width, errors.mean() + width], atol=0.2 * width)
    np.testing.assert_allclose(at_hand(quick_bounds(ask(name), ALPHA, 0)), at_hand(found), atol=0.3 * width)


def test_same_seed_same_bounds() -> None:
    assert bounds(ask("spearman"), ALPHA, 3).at(N) == bounds(ask("spearman"), ALPHA, 3).at(N)
    assert bounds(ask("spearman"), ALPHA, 3).at(N) != bounds(ask("spearman"), ALPHA, 4).at(N)


@pytest.mark.parametrize("metric", ["spearman", "rmse", "roc_auc", "macro_f1@0"])
def test_an_identical_candidate_may_still_fail_on_items_not_seen(metric: str) -> None:
    labels = LABELS if metric in ("spearman", "rmse") else (LABELS > 0).astype(int)
    question = ask(metric, candidate=ORIGINAL, labels=labels)
    upper = bounds(question, ALPHA, 0).at(N)[1]
    assert upper == pytest.approx(unseen(N, ALPHA) * question.failure_cost(0))
    assert 0.002 < upper < 0.05


def test_nothing_is_certified_on_five_items() -> None:
    five = slice(5)
    vectors = DRAW.standard_normal((5, 8))
    for question in (
        ask("spearman", ORIGINAL[five], ORIGINAL[five], LABELS[five]),
        ask("accuracy@0", ORIGINAL[five], ORIGINAL[five], (ORIGINAL[five] > 0).astype(int)),
        ask("cosine", vectors, vectors),
        ask("argmax_agreement", vectors, vectors),
    ):
        lower, upper = bounds(question, ALPHA, 0).at(5)
        assert question.drop == 0.0
        assert lower <= 0.0
        assert upper > 0.3


def test_unseen_is_the_rule_of_three() -> None:
    assert unseen(1000, 0.05) == pytest.approx(3 / 1000, rel=0.01)


def test_a_failure_costs_what_another_items_answer_costs() -> None:
    labels = np.arange(N) % 10
    perfect = np.eye(10)[labels]
    assert ask("accuracy", perfect, perfect, labels).failure_cost(0) == pytest.approx(0.9, abs=0.06)
    assert ask("rmse", np.zeros(N), np.zeros(N)).failure_cost(0) == 0.0


def test_minimum_bounds_the_candidate_itself() -> None:
    right = DRAW.random(N) < 0.8
    question = ask("accuracy", right.astype(int), right.astype(int), np.ones(N, dtype=int), minimum=0.7)
    lower, upper = bounds(question, ALPHA, 0).at(N)
    assert question.drop == pytest.approx(0.7 - right.mean())
    assert lower < question.drop < upper
    assert upper == pytest.approx(0.7 - right.mean() + 1.645 * 0.4 / math.sqrt(N), abs=0.005)
    lower, upper = bounds(ask("spearman", minimum=0.7), ALPHA, 0).at(N)
    assert lower < ask("spearman", minimum=0.7).drop < upper


def test_more_items_tighten_the_bounds() -> None:
    for metric in ("spearman", "accuracy@0"):
        labels: Any = LABELS if metric == "spearman" else (LABELS > 0).astype(int)
        found = bounds(ask(metric, labels=labels), ALPHA, 0)
        widths = [found.at(m)[1] - found.at(m)[0] for m in (N, 4 * N, 16 * N)]
        assert widths[0] == pytest.approx(2 * widths[1], rel=0.1) == pytest.approx(4 * widths[2], rel=0.1)


@pytest.mark.parametrize("metric", ["spearman", "macro_f1", "roc_auc"])
def test_a_statistic_is_never_bounded_tighter_than_either_method(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wider wins on both sides, whichever it is."""
    labels = (LABELS > 0.3).astype(int) if metric != "spearman" else LABELS
    original, candidate = (ORIGINAL > 0.3, CANDIDATE > 0.3) if metric == "macro_f1" else (ORIGINAL, CANDIDATE)
    question = ask(
        metric, *(np.asarray(v, np.int64 if metric == "macro_f1" else np.float64) for v in (original, candidate)), labels
    )
    lower, upper, _ = module._bca(question, ALPHA, 0)
    low, high = at_hand(bounds(question, ALPHA, 0))
    normal_low, normal_high = at_hand(quick_bounds(question, ALPHA, 0))
    assert low == pytest.approx(min(lower, normal_low)) and high == pytest.approx(max(upper, normal_high))
