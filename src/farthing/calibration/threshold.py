"""The lowest cosine at which wrong hits stay inside a budget, with confidence, at the real size of the cache."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from farthing.caching.guards import refuses
from farthing.caching.semantic import Threshold
from farthing.calibration.replay import Guard, Stream, filled, hits, stream, take, wrong
from farthing.certification.proportions import clopper_pearson
from farthing.errors import DataError
from farthing.types import Array

COSINES = tuple(round(0.98 - 0.02 * i, 2) for i in range(25))  # strictest first; named beforehand, never by the data


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one threshold did on the requests that were counted."""

    cosine: float
    num_entries: int
    num_requests: int
    num_hits: int
    num_wrong: int
    upper_bound: float  # of wrong hits per request, at 1 - alpha


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    threshold: Threshold | None  # None: no threshold could be shown to keep the budget
    trials: tuple[Trial, ...]  # from the strictest on, up to the first that could not be shown to keep it
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is asked: at most `budget` wrong hits per request with confidence 1 - alpha, in a cache of up to `max_entries`."""

    budget: float
    max_entries: int
    alpha: float = 0.05
    cosines: tuple[float, ...] = COSINES

    def __post_init__(self) -> None:
        if not (0.0 < self.budget < 1.0 and 0.0 < self.alpha < 1.0):
            raise DataError(f"a budget of {self.budget:g} at alpha {self.alpha:g}: both are shares between 0 and 1")
        if self.max_entries < 1 or not self.cosines:
            raise DataError(f"{self.max_entries} entries and {len(self.cosines)} cosines to try: at least one of each")


def calibrate(
    texts: Sequence[str],
    vectors: Array,
    answers: Sequence[Any],
    *,
    differs: Callable[[Any, Any], bool],
    terms: Terms,
    guard: Guard = refuses,
) -> Calibration:
    """Replay held-out traffic, in its order. Of its distinct texts, the earlier fill the cache, the later ones are counted.

    For each cosine t, strictest first: the cache is filled as it would be at t, then stands still. Given what it holds, each
    counted request is wrong with the same chance p(t), independently, so the number of wrong hits W is binomial, and the bound
    of Clopper & Pearson (1934) is exact: P(X <= W | p_upper) = alpha. H0 "p(t) >= budget" is rejected where p_upper < budget.
    Testing goes on to the next t only after a rejection: a fixed sequence (Maurer et al. 1995; "Learn then Test", Angelopoulos
    et al. 2021, arXiv:2110.01052), so the chance that *any* t is let through wrongly is alpha, whatever
    their number, and though p(t) need not grow as t falls (another t fills another cache). Chosen is the last that passed.

    It says nothing about traffic that changes: `caching.watch` goes on testing. Raises DataError for too few texts to fill
    the cache, or to show the budget even if not one hit were wrong.
    """
    arrivals = stream(texts, vectors, answers)
    fewest = math.ceil(math.log(terms.alpha) / math.log1p(-terms.budget))
    num_fill = max(terms.max_entries, len(arrivals) // 2)
    if len(arrivals) - num_fill < fewest:
        raise DataError(
            f"{len(arrivals)} distinct texts: {num_fill} fill a cache of {terms.max_entries} entries, and {fewest} more are "
            f"needed to show {terms.budget:g} wrong hits per request. Give more traffic, or allow fewer entries"
        )
    trials: list[Trial] = []
    passed: Trial | None = None
    for cosine in terms.cosines:
        trial = _try(arrivals, num_fill, cosine, differs, guard, terms)
        trials.append(trial)
        if trial.upper_bound >= terms.budget:
            break
        passed = trial
    return _told(passed, tuple(trials), terms)


def _try(
    arrivals: Stream, num_fill: int, cosine: float, differs: Callable[[Any, Any], bool], guard: Guard, terms: Terms
) -> Trial:
    past, requests = arrivals.part(0, num_fill), arrivals.part(num_fill, len(arrivals))
    held = take(past, filled(past, cosine, terms.max_entries, guard))
    found = hits(requests, held, cosine, guard)
    num_wrong = int(wrong(requests, held, found, differs).sum())
    return Trial(
        cosine=cosine,
        num_entries=len(held),
        num_requests=len(requests),
        num_hits=int((found >= 0).sum()),
        num_wrong=num_wrong,
        upper_bound=clopper_pearson(num_wrong, len(requests), terms.alpha)[1],
    )


def _told(passed: Trial | None, trials: tuple[Trial, ...], terms: Terms) -> Calibration:
    if passed is None:
        first = trials[0]
        reason = (
            f"already at a cosine of {first.cosine:g}, {first.num_wrong} of {first.num_requests} requests are answered "
            f"wrongly: at most {first.upper_bound:.3g} per request, {terms.budget:g} allowed. No semantic cache here"
        )
        return Calibration(threshold=None, trials=trials, reason=reason)
    reason = (
        f"cosine {passed.cosine:g}: {passed.num_hits} hits, {passed.num_wrong} of them wrong, in {passed.num_requests} "
        f"requests; at most {passed.upper_bound:.3g} wrong hits per request at {1 - terms.alpha:.0%}, {terms.budget:g} allowed"
    )
    entries = max(1, min(terms.max_entries, passed.num_entries))
    threshold = Threshold(cosine=passed.cosine, budget=terms.budget, max_entries=entries, alpha=terms.alpha)
    return Calibration(threshold=threshold, trials=trials, reason=reason)
