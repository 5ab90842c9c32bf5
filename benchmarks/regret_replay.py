"""The searches of regret.py, replayed from recorded trials: the shipped one, and random ones with the same time."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import numpy as np

from farthing import codec, finals, trial
from farthing.certification import certify_finalists
from farthing.measurement.service import fit_service
from farthing.results import Candidate, Certificate, Rejected, Trial
from farthing.selection import choose, space
from farthing.selection.screen import best_deployment
from farthing.selection.search import Search
from farthing.types import Build, Deployment
from farthing.workshop import Workshop

SEEDS = range(10)
TIME_SHARE = 0.3  # of the grid's: asked of the search, and its budget here
MOST_OF_RANDOM = 8  # of the deployments that random searches chose, timed again; the others are known from the grid
SHIPPED, IN_GRID = "farthing", "farthing, within the grid's batch sizes"
RANDOM_BUILDS, RANDOM_DEPLOYMENTS = "random builds, farthing's trials", "random deployments, measured as the grid"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What was recorded. `rows` are the grid's deployments with deployment, usd, seconds, yardstick_s, spent_s."""

    shop: Workshop
    space: Callable[[], Search]
    trials: Mapping[Build, Sequence[Trial]]
    rows: Sequence[Any]
    grid_s: float
    startup_s: float
    build_s: Callable[[Build], float]
    opening_s: Callable[[Build], float]
    num_contenders: int
    num_rounds: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """One seed of one searcher."""

    searcher: str
    seed: int
    chosen: Deployment
    believed_usd: float
    spent_s: float
    asked: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Replayed:
    inputs: Inputs
    runs: tuple[Run, ...]
    keeps_floor: Mapping[str, str]  # build -> verdict of its own certificate on verify, with its bound
    contenders: tuple[Deployment, ...]  # the cheapest of the grid that keep the floor
    choices: tuple[Deployment, ...]  # these, what farthing chose, and what random searches chose most often: timed again


@dataclass
class Clock:
    """Books what a search pays for: a build once, the conversion before it once."""

    inputs: Inputs
    spent_s: float = 0.0
    _built: set[Build] = field(default_factory=set)

    def build(self, build: Build) -> None:
        plain = replace(build, recipe=())
        for needed in (plain, build):
            if needed not in self._built:
                self._built.add(needed)
                self.spent_s += self.inputs.build_s(needed)


def replay(inputs: Inputs) -> Replayed:
    judge = Judge(inputs.shop, inputs.trials)
    sizes = tuple(sorted({row.deployment.batch_size for row in inputs.rows}))
    runs: list[Run] = []
    for seed in SEEDS:
        mine = _farthing(inputs, judge, seed, SHIPPED)
        runs.append(mine)
        with mock.patch.dict(space.BATCH_SIZES, cpu=sizes):
            runs.append(_farthing(inputs, judge, seed, IN_GRID))
        runs.append(_random_builds(inputs, judge, seed, mine.spent_s))
        runs.append(_random_deployments(inputs, judge, seed, mine.spent_s))
    keeping = [row for row in inputs.rows if judge.alone[row.deployment.build][0].verdict == "PASS"]
    contenders = tuple(row.deployment for row in sorted(keeping, key=lambda row: row.usd)[: inputs.num_contenders])
    ours = [run.chosen for run in runs if "random" not in run.searcher]
    others = [d for d, _ in Counter(run.chosen for run in runs if "random" in run.searcher).most_common(MOST_OF_RANDOM)]
    return Replayed(
        inputs=inputs,
        runs=tuple(runs),
        keeps_floor={str(build): f"{c[0].verdict}, drop at most {c[0].upper_bound:.4f}" for build, c in judge.alone.items()},
        contenders=contenders,
        choices=tuple(dict.fromkeys((*contenders, *ours, *others))),
    )


class Judge:
    """The flow's last steps: at most three named on search, certified on verify, the cheapest chosen. Answers are recorded."""

    def __init__(self, shop: Workshop, trials: Mapping[Build, Sequence[Trial]]) -> None:
        self._shop, self._original = shop, shop.original_predictions("verify")
        self._evidence = {build: self._verify(build, made[0]) for build, made in trials.items()}
        self._known: dict[tuple[str, ...], dict[str, tuple[Certificate, ...]]] = {}
        self.alone = {build: next(iter(self._certify([build]).values())) for build in trials}

    def choice(self, search: Search) -> Candidate:
        named = finals.finalists(self._shop, search.measured())
        tested = [t.build for t in named if t.build != self._shop.baseline.build]  # the original itself needs no test
        certificates = self._certify(tested) if tested else {}
        candidates = []
        for finalist in named:
            given = certificates.get(codec.digest(finalist.build), ())
            failed = next((Rejected(stage="certify", reason=c.verdict) for c in given if c.verdict != "PASS"), None)
            candidates.append(replace(finalist.candidate, certificates=given, rejected=failed))
        baseline = trial.baseline_trial(self._shop).candidate
        chosen = choose(self._shop.job, self._shop.profile, baseline, candidates, search).chosen
        assert chosen is not None, "without ceilings, the baseline may always stay"
        return chosen

    def _certify(self, builds: Sequence[Build]) -> dict[str, tuple[Certificate, ...]]:
        names = tuple(codec.digest(build) for build in builds)
        if names not in self._known:
            evidences = {codec.digest(build): self._evidence[build] for build in builds}
            self._known[names] = certify_finalists(evidences, self._shop.job.floors)
        return self._known[names]

    def _verify(self, build: Build, made: Trial) -> Any:
        data = self._shop.job.splits.verify

        def compute() -> Any:
            assert made.directory is not None, f"{build} could not be built: take it out of grid.json"
            with self._shop.opened(build, made.directory, (self._shop.num_cores, 1)) as worker:
                return self._shop.predictions(worker, data)

        answers = self._shop.store.once("verify answers", codec.digest(build), compute)
        return self._shop.evidence(data, self._original, answers)


# ---------------------------------------------------------------- searchers


def _farthing(inputs: Inputs, judge: Judge, seed: int, searcher: str) -> Run:
    """flow.py's loop, with TIME_SHARE of the grid's time as its budget."""
    search, clock, asked = inputs.space(), Clock(inputs, inputs.startup_s), []
    while not search.measured() or clock.spent_s < TIME_SHARE * inputs.grid_s:
        proposal = search.ask()
        if proposal is None:
            break
        made = _drawn(inputs, proposal.build, seed)
        _book(clock, made)
        search.tell(proposal, made)
        asked.append(str(proposal.build))
    return _run(searcher, seed, judge.choice(search), clock, asked)


def _random_builds(inputs: Inputs, judge: Judge, seed: int, limit_s: float) -> Run:
    """The same trials in random order; one that has begun is finished. It needs no diagnosis, and none is booked."""
    search, clock, asked = inputs.space(), Clock(inputs), []
    for i in np.random.default_rng([seed, 1]).permutation(len(search.proposals)):
        if clock.spent_s >= limit_s:
            break
        proposal = search.proposals[i]
        made = _drawn(inputs, proposal.build, seed)
        _book(clock, made)
        search.tell(proposal, made)
        asked.append(str(proposal.build))
    return _run(RANDOM_BUILDS, seed, judge.choice(search), clock, asked)


def _random_deployments(inputs: Inputs, judge: Judge, seed: int, limit_s: float) -> Run:
    """Deployments of the grid in random order, each measured as the grid was; builds that the race rejects do not count."""
    search, clock, draw = inputs.space(), Clock(inputs), np.random.default_rng([seed, 2])
    proposals, seen = {p.build: p for p in search.proposals}, dict[Build, tuple[float, Deployment]]()
    asked = []
    for i in draw.permutation(len(inputs.rows)):
        if clock.spent_s >= limit_s:
            break
        row = inputs.rows[i]
        build = row.deployment.build
        if str(build) not in {name.partition(" [")[0] for name in asked}:
            clock.build(build)
            clock.spent_s += inputs.opening_s(build)
        clock.spent_s += row.spent_s
        asked.append(str(row.deployment))
        usd = row.usd * _noise(row, draw, inputs)
        if inputs.trials[build][0].candidate.rejected is None and usd < seen.get(build, (math.inf,))[0]:
            seen[build] = usd, row.deployment
    for build, (usd, deployment) in seen.items():
        made = inputs.trials[build][0]
        cost = replace(made.candidate.cost, usd_per_million=usd)  # type: ignore[type-var]
        search.tell(proposals[build], replace(made, candidate=replace(made.candidate, deployment=deployment, cost=cost)))
    return _run(RANDOM_DEPLOYMENTS, seed, judge.choice(search), clock, asked)


def _noise(row: Any, draw: np.random.Generator, inputs: Inputs) -> float:
    """Median of rounds redrawn with replacement, against the median of the rounds."""
    return float(np.median(draw.choice(row.seconds, inputs.num_rounds)) / np.median(row.seconds))


def _drawn(inputs: Inputs, build: Build, seed: int) -> Trial:
    """One of the build's recorded trials, with its rounds redrawn, and its deployments screened with what they give."""
    shop, made = inputs.shop, inputs.trials[build]
    draw = np.random.default_rng([seed, list(inputs.trials).index(build)])
    drawn = made[draw.integers(len(made))]
    if drawn.candidate.rejected is not None:
        return drawn
    times = []
    for one in drawn.times:
        rounds = draw.integers(len(one.baseline_seconds), size=len(one.baseline_seconds))
        seconds = tuple(tuple(shape[i] for i in rounds) for shape in one.seconds)
        times.append(replace(one, seconds=seconds, baseline_seconds=tuple(one.baseline_seconds[i] for i in rounds)))
    drawn = replace(drawn, times=tuple(times), services=tuple(fit_service(one, shop.reference_s) for one in times))
    found = best_deployment(build, drawn.services, shop.job, shop.lengths, shop.price_of(drawn))
    assert not isinstance(found, Rejected), "an offline job has no ceilings"
    return replace(drawn, candidate=replace(drawn.candidate, deployment=found.deployment, cost=found.cost))


def _book(clock: Clock, made: Trial) -> None:
    clock.build(made.build)
    clock.spent_s += made.seconds


def _run(searcher: str, seed: int, chosen: Candidate, clock: Clock, asked: Iterable[str]) -> Run:
    assert chosen.cost is not None
    return Run(
        searcher=searcher,
        seed=seed,
        chosen=chosen.deployment,
        believed_usd=chosen.cost.usd_per_million,
        spent_s=clock.spent_s,
        asked=tuple(asked),
    )
