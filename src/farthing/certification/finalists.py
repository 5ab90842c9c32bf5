"""From the search's survivors to certificates: who may be a finalist, how many items that takes, and all of them certified."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtri

from farthing.certification.bounds import FEWEST_ITEMS, quick_bounds, spread
from farthing.certification.certify import certify, holm
from farthing.certification.proportions import pairs_needed
from farthing.certification.questions import Question, questions, slice_questions
from farthing.errors import DataError
from farthing.types import Certificate, Evidence, Floor

MOST_FINALISTS = 3
POWER = 0.8  # chance of a lossless candidate to be certified on as many items as farthing calls sufficient


def name_finalists(
    survivors: Mapping[str, Evidence], floors: Sequence[Floor], *, num_verify: int, share: float = 1.0
) -> tuple[str, ...]:
    """The first MOST_FINALISTS of the survivors (cheapest first) that a verify split of so many items should certify.

    Judged by their evidence on search; if it speaks for none, the one that comes nearest. Candidates at the margin thus rarely
    take a finalist's place from a sound one, however cheap they are. To be called before verify is opened.
    """
    excess = {name: _expected_excess(evidence, floors, num_verify, share) for name, evidence in survivors.items()}
    likely = [name for name in survivors if excess[name] < 0]
    nearest = sorted(survivors, key=lambda name: excess[name])[:1]
    return tuple(likely[:MOST_FINALISTS] or nearest)


def certify_finalists(
    evidences: Mapping[str, Evidence], floors: Sequence[Floor], *, share: float = 1.0, seed: int = 0
) -> dict[str, tuple[Certificate, ...]]:
    """Certificates of every finalist on the verify split; `share` (of each floor's alpha) is what the ledger grants.

    A finalist is accepted if all its certificates pass. Over its floors that needs no correction: it is accepted wrongly only
    if the floor it breaks is passed wrongly, which has probability alpha (intersection-union test, Berger 1982).
    Over finalists alpha is held by Holm's procedure (1979): the first is tested at alpha / their number.
    """
    assert len(evidences) <= MOST_FINALISTS, f"{len(evidences)} finalists; at most {MOST_FINALISTS} may see the verify split"

    def test(name: str, level: float) -> tuple[Certificate, ...]:
        found = (certify(evidences[name], floor, alpha=(1 - floor.confidence) * level, seed=seed) for floor in floors)
        return tuple(certificate for certificates in found for certificate in certificates)

    results = holm(evidences, share, test, lambda certificates: all(c.verdict == "PASS" for c in certificates))
    return {name: results[name] for name in evidences}


def items_needed(evidence: Evidence, floor: Floor, *, share: float = 1.0, power: float = POWER) -> float:
    """Items of the verify split that farthing calls sufficient: there, a lossless candidate is certified with this power.

    Lossless: a true drop of zero with the discordance or spread that `evidence` (of search) shows; for agreement, with the
    drop it shows. Tested as one of MOST_FINALISTS, each slice at its part of alpha. inf if no number suffices.
    """
    alpha = (1 - floor.confidence) * share / MOST_FINALISTS
    slices = slice_questions(evidence, floor)
    needed = [_items_needed(question, alpha, power) for question in questions(evidence, floor)]
    needed += [_items_needed(q, alpha / len(slices), power) * len(evidence.original) / len(q) for q in slices]
    return float(np.ceil(max(needed)))


def _items_needed(question: Question, alpha: float, power: float) -> float:
    if question.metric.binary and question.reference is not None:
        failed = 1 - question.values[1]
        return pairs_needed(failed, 0.0, question.limit + 1 - question.reference, alpha=alpha, power=power)
    if question.metric.binary:
        discordant = (float(np.abs(question.losses).sum()) + 1) / (len(question) + 2)  # none seen is not none there
        return pairs_needed(discordant / 2, discordant / 2, question.limit, alpha=alpha, power=power)
    drop = question.drop if question.reference is not None else 0.0
    gap = question.limit - drop
    if gap <= 0:
        return math.inf
    by_spread = (float(ndtri(1 - alpha) + ndtri(power)) * spread(question, seed=0) / gap) ** 2
    by_failures = math.log(1 / alpha) * question.failure_cost(seed=0) / gap
    return max(by_spread, by_failures, FEWEST_ITEMS)


def _expected_excess(evidence: Evidence, floors: Sequence[Floor], num_verify: int, share: float) -> float:
    """How far above its limit the worst of the upper bounds is expected on verify, in widths; negative: all should pass."""
    alphas = [(1 - floor.confidence) * share / MOST_FINALISTS for floor in floors]
    growth = num_verify / len(evidence.original)
    excesses = []
    for floor, alpha in zip(floors, alphas, strict=True):
        slices = slice_questions(evidence, floor)
        excesses += [_excess(question, alpha, growth) for question in questions(evidence, floor)]
        excesses += [_excess(question, alpha / len(slices), growth) for question in slices]
    return max(excesses)


def _excess(question: Question, alpha: float, growth: float) -> float:
    try:
        upper = quick_bounds(question, alpha, seed=0).at(len(question) * growth)[1]
    except DataError:  # the metric is undefined on so small a slice
        return math.inf
    width = upper - question.drop
    if math.isinf(upper) or width <= 0:
        return math.inf if upper >= question.limit else -math.inf
    return (upper - question.limit) / width
