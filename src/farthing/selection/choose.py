"""choose(): from what was measured, certified and driven to the Decision."""

import math
from collections.abc import Sequence

from farthing.results import Candidate, Certificate, Decision, Profile, Rejected
from farthing.selection.search import Search
from farthing.types import Deployment, Job
from farthing.wording import MORE_MINUTES, many

TIE = 0.01  # costs within this share of each other are a tie: the larger certified margin wins


def choose(job: Job, profile: Profile, baseline: Candidate, finalists: Sequence[Candidate], search: Search) -> Decision:
    """The cheapest candidate that is certified and holds the SLO under real load; the baseline if none is cheaper.

    The baseline keeps the floor by definition; where it misses the SLO and nothing else holds both, the verdict is "nothing".
    """
    passed = [c for c in finalists if c.rejected is None]
    best = _cheapest([*passed, *([baseline] if baseline.rejected is None else [])])
    named = {c.deployment.build for c in finalists}
    others = [t.candidate for t in search.measured() if t.build not in named and t.build != baseline.deployment.build]
    measured = sorted((baseline, *passed, *others), key=_usd)
    return Decision(
        job_name=job.name,
        job_digest=job.digest,
        verdict="nothing" if best is None else "keep" if best == baseline else "saves",
        summary="",
        baseline=baseline,
        chosen=best,
        saving=None,
        candidates=tuple(measured),
        front=pareto_front(measured),
        rejected=(
            *(t.candidate for t in search.rejected()),
            *(c for c in finalists if c.rejected is not None),
            *_untried(search),
        ),
        relax=() if best not in (None, baseline) else relaxations(job, (*finalists, *others, baseline)),
        profile=profile,
        num_items={name: len(getattr(job.splits, name)) for name in ("train", "calibrate", "search", "verify")},
        floors=job.floors,
        traffic=job.traffic,
        slo=job.slo,
        seed=job.seed,
        notes=(*job.notes, *_unfinished(search), *(f"{name} was not tried: {why}" for name, why in search.skipped)),
    )


def _unfinished(search: Search) -> tuple[str, ...]:
    """Said where the budget ended while builds that might have been cheaper were waiting."""
    best = search.best_usd(convincing=True)
    cheaper = [p for p in search.untried() if search.stopped_by(p) is None and search.predicted_usd(p) < best]
    if not cheaper:
        return ()
    verb = "was" if len(cheaper) == 1 else "were"
    return (f"{many(len(cheaper), 'build')} predicted to be cheaper {verb} not tried: {MORE_MINUTES}",)


def _untried(search: Search) -> list[Candidate]:
    """Builds that were proposed but never asked for, with why."""
    best = search.best_usd(convincing=True)
    rejected = []
    for proposal in search.untried():
        mean, optimistic = search.predicted_usd(proposal), search.optimistic_usd(proposal)
        why = f"predicted {mean:.3g} USD per million, at best {optimistic:.3g}; {best:.3g} was measured already"
        if optimistic < best:
            why = f"the budget ended before its turn; predicted {mean:.3g} USD per million"
        stage = "budget" if optimistic < best else "cost"
        if failed := search.stopped_by(proposal):
            stage, why = "race", f"not tried: it takes away no less than {failed.build}, which does not keep the floor"
        rejected.append(Candidate(deployment=Deployment(build=proposal.build), rejected=Rejected(stage=stage, reason=why)))
    return rejected


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
        given = [c for k in candidates for c in k.certificates if c.metric == floor.metric and c.slice is None and c.alpha > 0]
        bounds = [c.upper_bound for c in given if c.minimum is None]
        if bounds and floor.max_drop is not None and min(bounds) > floor.max_drop:
            demands.append(
                f"floor {floor.metric}: max_drop = {min(bounds):.4g} instead of {floor.max_drop:g} would certify one"
            )
        sure = [c.minimum - c.upper_bound for c in given if c.minimum is not None]
        if floor.minimum is not None and sure and max(sure) < floor.minimum:
            demands.append(f"floor {floor.metric}: minimum = {max(sure):.4g} instead of {floor.minimum:g} would certify one")
        missing = [c.items_missing for k in candidates for c in k.certificates if c.verdict == "INCONCLUSIVE"]
        if missing:
            demands.append(f"data: about {min(missing)} more items in the verify split would settle the closest candidate")
    for p, ceiling_s in job.slo.ceilings():
        measured = [_value(c, f"latency_p{p:g}_s") for c in candidates]
        simulated = [f.value for c in candidates for f in c.predictions if f.name == f"latency_p{p:g}_s"]
        word, reached = ("measured", min(measured)) if min(measured) < math.inf else ("simulated", min(simulated, default=0.0))
        if reached > ceiling_s:
            demands.append(f"slo: latency_p{p:g}_s = {reached:.4g} instead of {ceiling_s:g} is the fastest that was {word}")
    return tuple(demands)


def margin(candidate: Candidate) -> float:
    """How far the certificate stays inside the floor, as a share of the allowed drop: the least over all floors and slices."""
    return min((_margin(c) for c in candidate.certificates), default=1.0)


def _cheapest(candidates: Sequence[Candidate]) -> Candidate | None:
    if not candidates:
        return None
    least = min(map(_choosing, candidates))
    return max((c for c in candidates if _choosing(c) <= least * (1 + TIE)), key=lambda c: (margin(c), -_choosing(c)))


def _choosing(candidate: Candidate) -> float:
    """Its cost in the rounds that only choose; its only cost, where there were none."""
    choosing, told = candidate.figure("choosing_ratio"), candidate.figure("cost_ratio")
    return _usd(candidate) if choosing is None or told is None else _usd(candidate) * choosing.value / told.value


def _margin(certificate: Certificate) -> float:
    if not certificate.max_drop:
        return -certificate.upper_bound
    return (certificate.max_drop - certificate.upper_bound) / abs(certificate.max_drop)


def _usd(candidate: Candidate) -> float:
    return candidate.cost.usd_per_million if candidate.cost is not None else math.inf


def _value(candidate: Candidate, name: str) -> float:
    figure = candidate.figure(name)
    return figure.value if figure is not None else math.inf
