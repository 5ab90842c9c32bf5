"""The race on the search split: it may only reject, so that bad builds die after few items; it never certifies."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from farthing.certification.bounds import FEWEST_ITEMS, quick_bounds
from farthing.certification.questions import Question, not_finite, questions
from farthing.errors import DataError
from farthing.metrics import metric_of
from farthing.results import Evidence
from farthing.types import Floor

FIRST_LOOK = 32  # items; each later look doubles them
LOOKS_OF_A_STATISTIC = (0.25, 0.5, 1.0)  # shares of all items, set beforehand
NUM_STAKES = 12  # sizes of bets, each half the one before
LARGEST_STAKE = 0.99  # of what a single item could lose


@dataclass(frozen=True)
class Race:
    """All candidates together, the chance that one which keeps its floors is ever rejected is at most `alpha`.

    Means with bounded scores are judged at every look by a time-uniform test, statistics at three preset looks. The items must
    come in random order. Slices and the certificate are left to the verify split.
    """

    floors: tuple[Floor, ...]
    num_items: int
    num_candidates: int
    alpha: float = 0.05

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of items after which a look is worth the answers, growing, the last of them all items."""
        doublings = (FIRST_LOOK << i for i in range(self.num_items.bit_length()))
        looks = {n for n in doublings if n < self.num_items} | {self.num_items}
        statistics = any(not _is_bounded_mean(floor) for floor in self.floors)
        return tuple(sorted(looks | set(self._preset()))) if statistics else tuple(sorted(looks))

    def run(self, answers: Callable[[int], Evidence]) -> tuple[Evidence, str | None]:
        """Ask for the first so many answers, look by look, until one rejects: the evidence then at hand, and why."""
        for look in self.looks:
            evidence = answers(look)
            if reason := self.reject(evidence):
                break
        return evidence, reason

    def reject(self, evidence: Evidence) -> str | None:
        """Why the candidate is out, after the first `len(evidence.original)` items, which is one of `looks`; None: it stays.

        Answers that are not finite, or not shaped like the original's, are a reason too. Raises DataError for what is wrong
        with the data or the original.
        """
        if reason := _malformed(evidence):
            return reason
        asked = [question for floor in self.floors for question in questions(evidence, floor)]
        alpha = self.alpha / (self.num_candidates * len(asked))
        for question in asked:
            exceeds = self._mean_exceeds if _has_bounded_mean(question) else self._statistic_exceeds
            if exceeds(question, alpha):
                return f"{_finding(question)}, beyond chance (alpha {alpha:.2g})"
        return None

    def _mean_exceeds(self, question: Question, alpha: float) -> bool:
        """Bets that the mean loss is above the limit m; who keeps the floor multiplies such a stake by 1/alpha with
        probability alpha at most, ever (Ville 1939).

        Capital of stake s after t items: prod_i (1 + s (x_i - m)), 0 <= s < 1/m, losses x scaled to [0, 1]; the average over
        stakes is a capital too (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting").
        """
        low, high = question.loss_bounds
        m = (question.limit - low) / (high - low)
        if not 0 < m < 1:
            return False
        surplus = (question.losses - low) / (high - low) - m
        stakes = LARGEST_STAKE / m * 0.5 ** np.arange(NUM_STAKES)
        log_capital = np.cumsum(np.log1p(np.multiply.outer(stakes, surplus)), axis=1)
        return bool(np.logaddexp.reduce(log_capital, axis=0).max() >= math.log(NUM_STAKES / alpha))

    def _statistic_exceeds(self, question: Question, alpha: float) -> bool:
        """Lower bound above the limit at a preset look, at the alpha that this look may spend.

        Spending function of Lan & DeMets (1983) of Pocock's type, alpha ln(1 + (e - 1) t), t the share of items seen; a look
        spends what it adds, and the union bound replaces the joint distribution of the looks.
        """
        if len(question) not in self._preset():
            return False
        look = self._preset().index(len(question))
        spent = [alpha * math.log(1 + (math.e - 1) * share) for share in (0.0, *LOOKS_OF_A_STATISTIC)]
        try:
            lower, _ = quick_bounds(question, spent[look + 1] - spent[look], seed=0).at(len(question))
        except DataError:
            if len(question) == self.num_items:
                raise
            return False  # undefined on so few items, such as those of one class
        return lower > question.limit

    def _preset(self) -> list[int]:
        return [max(min(FEWEST_ITEMS, self.num_items), math.ceil(share * self.num_items)) for share in LOOKS_OF_A_STATISTIC]


def _is_bounded_mean(floor: Floor) -> bool:
    metric = metric_of(floor.metric)
    return metric.kind == "mean" and bool(np.isfinite(metric.bounds).all())


def _has_bounded_mean(question: Question) -> bool:
    return question.metric.kind == "mean" and bool(np.isfinite(question.loss_bounds).all())


def _finding(question: Question) -> str:
    name, seen = question.name, f"on {len(question)} items"
    if question.minimum is not None:
        return f"{name} is {question.candidate_value:.4g} {seen}, below the minimum {question.minimum:g}"
    return f"{name} falls by {question.drop:.4g} {seen}, more than the {question.limit:g} allowed"


def _malformed(evidence: Evidence) -> str | None:
    original, candidate = evidence.original, evidence.candidate
    if candidate.shape != original.shape:
        return f"answers have shape {candidate.shape}, the original's {original.shape}"
    num_bad = not_finite(np.asarray(candidate))
    return f"{num_bad} of {len(candidate)} answers are NaN or infinite" if num_bad else None
