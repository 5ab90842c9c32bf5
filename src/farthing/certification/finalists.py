"""From the search's survivors to certificates: who may be a finalist, how many items that takes, and all of them certified."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtri

from farthing.certification.bounds import FEWEST_ITEMS, quick_bounds, spread
from farthing.certification.certify import certify, holm, unchanged
from farthing.certification.proportions import pairs_needed
from farthing.certification.questions import Question, questions, slice_questions
from farthing.errors import DataError
from farthing.results import Certificate, Evidence
from farthing.types import Floor

MOST_FINALISTS = 3
COST_ALLOWANCE = 1.1  # what a failure costs is itself estimated, on search and again on verify
POWER = 0.8  # chance of a lossless candidate to be certified on as many items as farthing calls sufficient


def name_finalists(
    survivors: Mapping[str, Evidence], floors: Sequence[Floor], *, num_verify: int, share: float = 1.0
) -> tuple[str, ...]:
    """At most `places(floors)` of the race's survivors (cheapest first), by their evidence on search, before verify is opened.

    First, the cheapest of those that convince: the bound at 1 - 1/(number of survivors) on search is within every limit, and
    so is the bound to be expected of `num_verify` items. Of candidates right at the margin about one does so: however many
    and cheap they are, they do not take all places. Then whichever come nearest, if their drop is within the limits at all;
    failing that too, the single nearest, whose certificate says what is missing.
    """
    chance = 1 / max(2, len(survivors))
    doubt, risk = {}, {}
    for name, evidence in survivors.items():
        asked = _asked(evidence, floors, share)
        doubt[name] = max(_excess(question, chance, 1.0) for question, _ in asked)
        risk[name] = max(_excess(question, alpha, num_verify / len(evidence.original)) for question, alpha in asked)
    convincing = [name for name in survivors if doubt[name] < 0 and risk[name] < 0]
    nearest = sorted((name for name in survivors if name not in convincing), key=lambda name: doubt[name])
    return tuple((convincing + [name for name in nearest if doubt[name] < 1])[: places(floors)] or nearest[:1])


def places(floors: Sequence[Floor]) -> int:
    """How many candidates may be finalists: an absolute minimum is a test for the original too, which takes one place."""
    return MOST_FINALISTS - any(floor.minimum is not None for floor in floors)


def certify_finalists(
    evidences: Mapping[str, Evidence], floors: Sequence[Floor], *, original: str = "", share: float = 1.0, seed: int = 0
) -> dict[str, tuple[Certificate, ...]]:
    """Certificates of every finalist on the verify split; `share` (of each floor's alpha) is what the ledger grants.

    A finalist is accepted if all its certificates pass. Over its floors that needs no correction: it is accepted wrongly only
    if the floor it breaks is passed wrongly, which has probability alpha (intersection-union test, Berger 1982).
    Over finalists alpha is held by Holm's procedure (1979): the first is tested at alpha / their number.
    The one named `original` is the original itself: it can lose nothing, but has to reach an absolute minimum like the others.
    """
    minima = [floor for floor in floors if floor.minimum is not None]
    tested = [name for name in evidences if name != original or minima]
    assert len(tested) <= MOST_FINALISTS, f"{len(tested)} finalists; at most {MOST_FINALISTS} may see the verify split"

    def test(name: str, level: float) -> tuple[Certificate, ...]:
        asked = minima if name == original else floors
        found = (certify(evidences[name], floor, alpha=(1 - floor.confidence) * level, seed=seed) for floor in asked)
        return tuple(certificate for certificates in found for certificate in certificates)

    results = holm(tested, share, test, lambda certificates: all(c.verdict == "PASS" for c in certificates))
    if original in evidences:
        given = [certificate for floor in floors for certificate in unchanged(evidences[original], floor)]
        results[original] = (*given, *results.get(original, ()))
    return {name: results[name] for name in evidences}


def items_needed(evidence: Evidence, floor: Floor, *, share: float = 1.0, power: float = POWER) -> float:
    """Items of the verify split that farthing calls sufficient: there, a lossless candidate is certified with this power.

    Lossless: a true drop of zero with the discordance or spread that `evidence` (of search) shows; for agreement, with the
    drop it shows. Tested as one of MOST_FINALISTS, each slice at its part of alpha. inf if no number suffices.
    """
    needed = [_items_needed(q, alpha, power) * len(evidence.original) / len(q) for q, alpha in _asked(evidence, [floor], share)]
    return float(np.ceil(max(needed)))


def _items_needed(question: Question, alpha: float, power: float) -> float:
    if question.metric.binary and question.reference is not None:
        failed = 1 - question.candidate_value
        return pairs_needed(failed, 0.0, question.limit + 1 - question.reference, alpha=alpha, power=power)
    if question.metric.binary:
        discordant = (float(np.abs(question.losses).sum()) + 1) / (len(question) + 2)  # none seen is not none there
        return pairs_needed(discordant / 2, discordant / 2, question.limit, alpha=alpha, power=power)
    drop = question.drop if question.reference is not None else 0.0
    gap = question.limit - drop
    if gap <= 0:
        return math.inf
    by_spread = (float(ndtri(1 - alpha) + ndtri(power)) * spread(question, seed=0) / gap) ** 2
    by_failures = math.log(1 / alpha) * COST_ALLOWANCE * question.failure_cost(seed=0) / gap
    return max(by_spread, by_failures, FEWEST_ITEMS)


def _asked(evidence: Evidence, floors: Sequence[Floor], share: float) -> list[tuple[Question, float]]:
    """Every question that certificates will answer, with the alpha of its least favourable test."""
    asked = []
    for floor in floors:
        alpha = (1 - floor.confidence) * share / MOST_FINALISTS
        slices = slice_questions(evidence, floor)
        asked += [(question, alpha) for question in questions(evidence, floor)]
        asked += [(question, alpha / len(slices)) for question in slices]
    return asked


def _excess(question: Question, alpha: float, growth: float) -> float:
    """How far above the limit the upper bound is with `growth` times these items, in widths: < 0 passes, 1 has drop = limit."""
    try:
        upper = quick_bounds(question, alpha, seed=0).at(len(question) * growth)[1]
    except DataError:  # the metric is undefined on so small a slice
        return math.inf
    width = upper - question.drop
    if math.isinf(upper) or width <= 0:
        return math.inf if upper >= question.limit else -math.inf
    return (upper - question.limit) / width
