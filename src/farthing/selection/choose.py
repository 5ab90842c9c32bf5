"""choose(): from what was measured, certified and driven to the Decision."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from farthing.types import Candidate, Certificate, Decision, Job, Profile

TIE = 0.01  # costs within this share of each other are a tie: the larger certified margin wins


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Everything the search left behind."""

    baseline: Candidate
    finalists: tuple[Candidate, ...]  # certified and driven; those that failed either carry `rejected`
    others: tuple[Candidate, ...]  # measured, not named finalists
    rejected: tuple[Candidate, ...]


def choose(job: Job, profile: Profile, found: Found) -> Decision:
    """The cheapest candidate that is certified and holds the SLO under real load; the baseline if none is cheaper.

    The baseline keeps the floor by definition; where it misses the SLO and nothing else holds both, the verdict is "nothing".
    """
    passed = [c for c in found.finalists if c.rejected is None]
    keep_allowed = found.baseline.rejected is None
    best = _cheapest([*passed, *([found.baseline] if keep_allowed else [])])
    rejected = (*found.rejected, *(c for c in found.finalists if c.rejected is not None))
    measured = sorted((found.baseline, *passed, *found.others), key=_usd)
    verdict = "nothing" if best is None else "keep" if best == found.baseline else "saves"
    decision = Decision(
        job_name=job.name,
        job_digest=job.digest,
        verdict=verdict,  # type: ignore[arg-type]
        summary="",
        baseline=found.baseline,
        chosen=best,
        saving=None,
        candidates=tuple(measured),
        front=pareto_front([c for c in measured if c.figure("drop") is not None]),
        rejected=rejected,
        relax=() if best is not None else relaxations(job, (*found.finalists, *found.others, found.baseline)),
        profile=profile,
        floors=job.floors,
        seed=job.seed,
    )
    return decision


def pareto_front(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Those that no other beats in cost, drop of the floor's metric and p99 latency at once, the cheapest first."""

    def goals(candidate: Candidate) -> tuple[float, float, float]:
        return _usd(candidate), _value(candidate, "drop"), _value(candidate, "latency_p99_s")

    def beaten(candidate: Candidate) -> bool:
        mine = goals(candidate)
        return any(
            all(a <= b for a, b in zip(goals(other), mine, strict=True)) and goals(other) != mine for other in candidates
        )

    return tuple(sorted((c for c in candidates if not beaten(c)), key=_usd))


def relaxations(job: Job, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """For each demand that stood in the way: the least change of it that would let some candidate through."""
    demands = []
    for floor in job.floors:
        bounds = [c.upper_bound for k in candidates for c in k.certificates if c.metric == floor.metric and c.slice is None]
        if bounds and floor.max_drop is not None and min(bounds) > floor.max_drop:
            demands.append(
                f"floor {floor.metric}: max_drop = {min(bounds):.4g} instead of {floor.max_drop:g} would certify one"
            )
        missing = [c.items_missing for k in candidates for c in k.certificates if c.verdict == "INCONCLUSIVE"]
        if missing:
            demands.append(f"data: about {min(missing)} more items in the verify split would settle the closest candidate")
    for p, ceiling_s in job.slo.ceilings():
        reached = [_value(c, f"latency_p{p:g}_s") for c in candidates]
        if reached and math.isfinite(min(reached)) and min(reached) > ceiling_s:
            demands.append(
                f"slo: latency_p{p:g}_s = {min(reached):.4g} instead of {ceiling_s:g} is the fastest that was measured"
            )
    return tuple(demands)


def margin(candidate: Candidate) -> float:
    """How far the certificate stays inside the floor, as a share of the allowed drop: the least over all floors and slices."""
    return min((_margin(c) for c in candidate.certificates), default=1.0)


def _cheapest(candidates: Sequence[Candidate]) -> Candidate | None:
    if not candidates:
        return None
    least = min(map(_usd, candidates))
    return max((c for c in candidates if _usd(c) <= least * (1 + TIE)), key=lambda c: (margin(c), -_usd(c)))


def _margin(certificate: Certificate) -> float:
    if not certificate.max_drop:
        return -certificate.upper_bound
    return (certificate.max_drop - certificate.upper_bound) / abs(certificate.max_drop)


def _usd(candidate: Candidate) -> float:
    return candidate.cost.usd_per_million if candidate.cost is not None else math.inf


def _value(candidate: Candidate, name: str) -> float:
    figure = candidate.figure(name)
    return figure.value if figure is not None else math.inf
