"""One-sided confidence bounds of a drop, and what they would be with more items."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from farthing.certification.proportions import clopper_pearson, paired_difference
from farthing.certification.questions import Question
from farthing.types import Array

INFLUENCE_ABOVE = 50_000  # items: from there on the influence function replaces the bootstrap
FEWEST_ITEMS = 30  # with fewer, no bootstrap and no normal approximation says anything
TAIL_RESAMPLES = 50  # expected beyond the quantile that is read off
FEWEST_RESAMPLES, MOST_RESAMPLES = 2_000, 20_000
SPREAD_RESAMPLES = 200  # for a standard error without a closed form
JACKKNIFE_GROUPS = 200
CHUNK_CELLS = 2_000_000  # resamples x items in memory at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`at(m)`: the one-sided (lower, upper) bounds that m items as these would give; at(n) are those of the n at hand."""

    at: Callable[[float], tuple[float, float]]
    certifiable_drop: float  # upper - drop, were the true drop zero
    protocol: str


def bounds(question: Question, alpha: float, seed: int) -> Bounds:
    """What a certificate rests on: exact or score-based for proportions, BCa bootstrap for everything else.

    Of a statistic (Spearman, macro F1, ROC AUC, ...) the wider of BCa and the normal bound of its influence function: at 200
    items and a level of 1.67%, BCa alone lets through up to 1.8% for Spearman and 4.9% for macro F1, the wider 1.6% and 3.6%.
    Above INFLUENCE_ABOVE items, and for metrics that cannot be resampled, the influence function.
    """
    if question.metric.binary:
        return _proportion_bounds(question, alpha)
    large = len(question) > INFLUENCE_ABOVE and question.influence is not None
    if large or not question.metric.resamples or len(question) < FEWEST_ITEMS:
        return quick_bounds(question, alpha, seed)
    lower, upper, num_resamples = _bca(question, alpha, seed)
    protocol = f"paired BCa bootstrap, {num_resamples} resamples"
    if question.metric.kind == "statistic" and question.influence is not None:
        width = _normal_width(question, alpha, seed)
        lower, upper = min(lower, question.drop - width), max(upper, question.drop + width)
        protocol += ", never tighter than the influence function's"
    return _scaled(question, (lower, upper), alpha, seed, protocol)


def quick_bounds(question: Question, alpha: float, seed: int) -> Bounds:
    """The same without resampling where there is a closed form: drop +- t(n - 1) sd(influence) / sqrt(n)."""
    if question.metric.binary:
        return _proportion_bounds(question, alpha)
    width = _normal_width(question, alpha, seed)
    return _scaled(
        question, (question.drop - width, question.drop + width), alpha, seed, "influence function of the paired drop"
    )


def _normal_width(question: Question, alpha: float, seed: int) -> float:
    """t(n - 1) sd(influence) / sqrt(n)"""
    n = len(question)
    return float(stdtrit(n - 1, 1 - alpha)) * spread(question, seed) / math.sqrt(n) if n > 1 else math.inf


def spread(question: Question, seed: int) -> float:
    """Standard deviation of one item's share in the drop: the drop's standard error is spread / sqrt(n)."""
    influence = question.influence
    if influence is not None:
        return float(influence.std(ddof=1))
    drops = np.concatenate([question.resampled(w) for w in _resamples(len(question), SPREAD_RESAMPLES, seed)])
    return float(np.nanstd(drops, ddof=1)) * math.sqrt(len(question))


def unseen(num_items: float, alpha: float) -> float:
    """The largest share of failures that may hide behind none in n items: 1 - alpha^(1/n), about ln(1/alpha) / n.

    Clopper & Pearson 1934 for x = 0; "the rule of three" (Hanley & Lippman-Hand 1983) for alpha = 0.05.
    """
    return -math.expm1(math.log(alpha) / num_items)


def _proportion_bounds(question: Question, alpha: float) -> Bounds:
    n, reference = len(question), question.reference
    if reference is not None:  # one proportion against a constant
        failures, allowed = n - float(question.metric.scores(question.candidate, question.target).sum()), 1 - reference

        def one(m: float) -> tuple[float, float]:
            lower, upper = clopper_pearson(failures * m / n, m, alpha)
            return lower - allowed, upper - allowed

        certifiable = clopper_pearson(allowed * n, n, alpha)[1] - allowed
        return Bounds(at=one, certifiable_drop=certifiable, protocol=f"Clopper-Pearson, {failures:.0f} of {n} failed")
    lost, won = float((question.losses > 0).sum()), float((question.losses < 0).sum())

    def paired(m: float) -> tuple[float, float]:
        return paired_difference(lost * m / n, won * m / n, m, alpha)

    even = (lost + won) / 2
    certifiable = paired_difference(even, even, n, alpha)[1]
    return Bounds(
        at=paired,
        certifiable_drop=certifiable,
        protocol=f"Tango score interval, {lost:.0f} lost and {won:.0f} won of {n} pairs",
    )


def _scaled(question: Question, at_hand: tuple[float, float], alpha: float, seed: int, protocol: str) -> Bounds:
    """Widths shrink with 1/sqrt(m); but never claims less than the drop seen plus what failures not seen may cost.

    Without that second term a candidate equal to the original on five items would be certified to lose nothing.
    """
    n, drop, cost = len(question), question.drop, question.failure_cost(seed)
    below, above = drop - at_hand[0], at_hand[1] - drop

    def at(m: float) -> tuple[float, float]:
        if m < FEWEST_ITEMS:
            return -math.inf, math.inf
        shrink = math.sqrt(n / m)
        return drop - below * shrink, drop + max(above * shrink, unseen(m, alpha) * cost)

    hidden = unseen(n, alpha) * cost
    binding = ", failures not seen (rule of three)" if hidden > above else ""
    certifiable = max(above, hidden) if n >= FEWEST_ITEMS else math.inf
    return Bounds(at=at, certifiable_drop=certifiable, protocol=protocol + binding)


def _bca(question: Question, alpha: float, seed: int) -> tuple[float, float, int]:
    """Bias-corrected and accelerated bounds (Efron 1987; Efron & Tibshirani 1993, eqs. 14.10, 14.14, 14.15)."""
    num_resamples = int(min(MOST_RESAMPLES, max(FEWEST_RESAMPLES, TAIL_RESAMPLES / alpha)))
    drops = np.concatenate([question.resampled(w) for w in _resamples(len(question), num_resamples, seed)])
    drops = drops[~np.isnan(drops)]
    at_most = ((drops < question.drop).mean() + (drops <= question.drop).mean()) / 2  # ties half: proportions are lattices
    bias = float(ndtri(np.clip(at_most, 0.5 / len(drops), 1 - 0.5 / len(drops))))
    acceleration = _acceleration(question)

    def bound(z: float) -> float:
        shifted = bias + z
        level = ndtr(bias + shifted / max(1 - acceleration * shifted, np.finfo(float).tiny))
        return float(np.quantile(drops, level))

    z = float(ndtri(1 - alpha))
    return bound(-z), bound(z), num_resamples


def _acceleration(question: Question) -> float:
    """sum(u^3) / (6 sum(u^2)^1.5) over items' influences u, or over the values that a jackknife by groups leaves."""
    u = question.influence
    if u is None:
        n = len(question)
        groups = np.arange(n) * min(n, JACKKNIFE_GROUPS) // n
        without = np.concatenate([question.resampled((groups != g).astype(float)[None]) for g in range(groups[-1] + 1)])
        u = np.nanmean(without) - without[~np.isnan(without)]
    squares = float(np.square(u).sum())
    return float((u**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0


def _resamples(n: int, num_resamples: int, seed: int) -> Iterator[Array]:
    """Chunks (b, n) of how often each item occurs in a sample of n drawn with replacement."""
    draw = np.random.default_rng(seed)
    per_chunk = max(1, CHUNK_CELLS // n)
    for start in range(0, num_resamples, per_chunk):
        num_rows = min(per_chunk, num_resamples - start)
        cells = draw.integers(0, n, (num_rows, n)) + n * np.arange(num_rows)[:, None]
        yield np.bincount(cells.ravel(), minlength=num_rows * n).reshape(num_rows, n).astype(np.float64)
