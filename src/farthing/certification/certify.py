"""The certificate: paired, one-sided non-inferiority at fixed n, overall and per slice."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Literal, TypeVar

from farthing.certification.bounds import FEWEST_ITEMS, bounds
from farthing.certification.questions import Question, not_finite, questions, slice_questions
from farthing.errors import DataError
from farthing.results import Certificate, Evidence
from farthing.types import Floor

Key = TypeVar("Key")
Result = TypeVar("Result")

MOST_MORE = 1_000  # times the items at hand: with more missing than that, the question is as good as unanswerable


def certify(evidence: Evidence, floor: Floor, *, alpha: float, seed: int = 0) -> tuple[Certificate, ...]:
    """Overall first (`max_drop`, then `minimum`), then slice by slice. The floor is kept if every one of them passes.

    H0 "the drop is at least the limit" is rejected, verdict PASS, iff the upper bound at 1 - alpha is below the limit. FAIL:
    the lower bound at 1 - alpha is not. For `minimum`, the drop is minimum - value(candidate) and the limit 0.

    "All hold" needs no correction (each part must pass by itself: Berger 1982), but the slices' certificates are also read one
    by one, so alpha is held over them together (Holm 1979). A slice in which the metric is undefined is INCONCLUSIVE.
    Raises DataError for data on which the metric is undefined overall, or that is missing or not finite.
    """
    overall = [_certificate(question, alpha, seed) for question in questions(evidence, floor)]
    slices = dict(enumerate(slice_questions(evidence, floor)))
    by_slice = holm(slices, alpha, lambda i, level: _of_slice(slices[i], level, seed), lambda c: c.verdict == "PASS")
    return (*overall, *(by_slice[i] for i in slices))


def unchanged(evidence: Evidence, floor: Floor) -> tuple[Certificate, ...]:
    """The same build answers as it always did: it can lose nothing. Only a `minimum` has to be tested."""
    asked = [q for q in (*questions(evidence, floor), *slice_questions(evidence, floor)) if q.minimum is None]
    return tuple(
        replace(
            _unanswered(question, 0.0, "FAIL", 0, "the build is the original, unchanged: nothing can be lost"),
            verdict="PASS",
            original=question.original_value,
            candidate=question.original_value,
            drop=0.0,
            upper_bound=0.0,
            certifiable_drop=0.0,
        )
        for question in asked
    )


def holm(
    keys: Iterable[Key], alpha: float, test: Callable[[Key, float], Result], passed: Callable[[Result], bool]
) -> dict[Key, Result]:
    """Test all at alpha / their number; those that pass leave, and the others share alpha anew, until none passes.

    The error over all of them together is at most alpha (Holm 1979), whatever the dependence.
    """
    results: dict[Key, Result] = {}
    pending = list(keys)
    while pending:
        results |= {key: test(key, alpha / len(pending)) for key in pending}
        remaining = [key for key in pending if not passed(results[key])]
        if len(remaining) == len(pending):
            break
        pending = remaining
    return results


def _of_slice(question: Question, alpha: float, seed: int) -> Certificate:
    try:
        return _certificate(question, alpha, seed)
    except DataError as error:
        missing = max(1, FEWEST_ITEMS - len(question))
        return _unanswered(question, alpha, "INCONCLUSIVE", missing, f"too little to tell: {error}")


def _certificate(question: Question, alpha: float, seed: int) -> Certificate:
    num_bad = not_finite(question.candidate)
    if num_bad:
        return _unanswered(question, alpha, "FAIL", 0, f"{num_bad} answers are NaN or infinite")
    found = bounds(question, alpha, seed)
    return Certificate(
        metric=question.name,
        verdict=_verdict(found.at(len(question)), question.limit),
        original=question.original_value,
        candidate=question.candidate_value,
        drop=question.drop,
        upper_bound=found.at(len(question))[1],
        max_drop=question.limit,
        alpha=alpha,
        num_items=len(question),
        protocol=found.protocol,
        certifiable_drop=found.certifiable_drop,
        items_missing=_items_missing(len(question), lambda m: _verdict(found.at(m), question.limit) != "INCONCLUSIVE"),
        slice=question.slice,
        minimum=question.minimum,
    )


def _verdict(bounds_of_drop: tuple[float, float], limit: float) -> Literal["PASS", "FAIL", "INCONCLUSIVE"]:
    lower, upper = bounds_of_drop
    return "PASS" if upper < limit else "FAIL" if lower >= limit else "INCONCLUSIVE"


def _items_missing(n: int, settles: Callable[[int], bool]) -> int:
    """How many more than n items would settle it, were they like those at hand; at most MOST_MORE * n."""
    low, high = 0, n
    if settles(n):
        return 0
    while not settles(n + high) and high < MOST_MORE * n:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settles(n + middle) else (middle, high)
    return min(high, MOST_MORE * n)


def _unanswered(
    question: Question, alpha: float, verdict: Literal["FAIL", "INCONCLUSIVE"], items_missing: int, why: str
) -> Certificate:
    return Certificate(
        metric=question.name,
        verdict=verdict,
        original=math.nan,
        candidate=math.nan,
        drop=math.nan,
        upper_bound=math.inf,
        max_drop=question.limit,
        alpha=alpha,
        num_items=len(question),
        protocol=why,
        certifiable_drop=math.inf,
        items_missing=items_missing,
        slice=question.slice,
        minimum=question.minimum,
    )
