"""Which build to try next: ask and tell. A linear model of log cost learns from every trial what each member is worth here."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from farthing import plugins
from farthing.methods.base import Method
from farthing.results import Profile, Trial
from farthing.selection.space import CASCADE, Feasible, Proposal, allows, builds, pairs
from farthing.types import Array, Job

PRIOR_SD = 0.5  # of the log of (actual / predicted) cost, per member: predictions are wrong by a factor of e^0.5 = 1.6
NOISE_SD = 0.15  # what one trial leaves unexplained: members interact
OPTIMISM = 1.0  # standard deviations below the mean at which an untried build is judged


def propose(job: Job, profile: Profile, feasible: Feasible, baseline_usd: float) -> "Search":
    """A search over every build that `feasible` allows, whose predictions start from the profile."""
    proposals, skipped = builds(job, profile, feasible)
    drops = [floor.max_drop for floor in job.floors if floor.max_drop is not None]
    cascades = (
        partial(pairs, feasible=feasible, max_drop=min(drops))
        if drops and allows(job, CASCADE) and CASCADE in plugins.names(Method)
        else None
    )
    return Search(proposals=proposals, baseline_usd=baseline_usd, skipped=tuple(skipped), cascades=cascades)


@dataclass
class Search:
    """log cost(build) = log cost(baseline) - log predicted speedup + sum of the effects of its members + noise.

    Bayesian linear regression (Bishop 2006, eq. 3.50-3.51) on prior effects N(0, PRIOR_SD^2); the build with the least
    optimistic cost is asked first, and asking ends when no untried build's optimistic cost is below the best one found.

    When nothing else is worth trying, cascades are: of the cheapest builds whose structure was cut, whatever their quality,
    with the cheapest that convinces.

    Cheap evidence comes before dear: builds whose structure is cut wait for those that are whole and may be cheaper than the
    best one found. These are made and measured in a fraction of the time, and tell what the rest of a recipe is worth.

    Quality falls as more is taken away: what contains a recipe that the race turned down is hopeless, and of the settings of
    one method of structure the mildest is tried first, the next only when that keeps the floor.
    """

    proposals: list[Proposal]
    baseline_usd: float
    skipped: tuple[tuple[str, str], ...] = ()  # (member, why it cannot pay here)
    least_trials: int = 3  # that end in a price, before the model's word is taken
    cascades: Callable[..., list[Proposal]] | None = None  # `space.pairs`, for this job
    _trials: dict[Proposal, Trial] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._names = sorted({name for p in self.proposals for name in p.features})

    def ask(self) -> Proposal | None:
        """The next build to try, or None when no other can be expected to be cheaper than the best that keeps the floor.

        Until something that keeps the floor has been priced, builds whose recipe changes no number come first.
        """
        found = self._next()
        if found is None and self._pair():
            found = self._next()
        return found

    def _pair(self) -> bool:
        """Propose cascades, once; whether there are any."""
        convincing = [(usd, p) for p, usd, trial in self._told() if trial.convincing]
        if self.cascades is None or not convincing:
            return False
        best_usd, best = min(convincing, key=lambda pair: pair[0])
        cut = [p for p in self._trials if p.cut and self._usd_of(p) < best_usd]
        proposed = self.cascades(cut, best, self._usd_of, self.baseline_usd)
        self.cascades = None
        self.proposals = [*self.proposals, *proposed]
        self._names = sorted({name for p in self.proposals for name in p.features})
        return bool(proposed)

    def _usd_of(self, proposal: Proposal) -> float:
        """Measured, or expected of what was turned down before it was timed."""
        cost = self._trials[proposal].candidate.cost
        return self.predicted_usd(proposal) if cost is None else cost.usd_per_million

    def _next(self) -> Proposal | None:
        untried = [p for p in self.untried() if self.stopped_by(p) is None and not self._waits(p)]
        if not untried:
            return None
        lossless = [p for p in untried if not p.build.recipe]
        secured = any(trial.convincing or not trial.build.recipe for _, _, trial in self._told())
        optimistic = {p: self.optimistic_usd(p) for p in untried}
        best = min(untried if secured or not lossless else lossless, key=lambda p: optimistic[p])
        if len(self._told()) >= self.least_trials and optimistic[best] >= self.best_usd(convincing=True):
            return None
        whole = [p for p in untried if not p.cut and optimistic[p] < self.best_usd(convincing=True)]
        return min(whole, key=lambda p: optimistic[p]) if best.cut and whole else best

    def tell(self, proposal: Proposal, trial: Trial) -> None:
        """The trial's cost is that of its cheapest simulated deployment; a rejected one teaches nothing about cost."""
        self._trials[proposal] = trial

    def measured(self) -> list[Trial]:
        """The trials that have a price, the cheapest first."""
        return [trial for _, trial in sorted(((usd, t) for _, usd, t in self._told()), key=lambda pair: pair[0])]

    def rejected(self) -> list[Trial]:
        return [trial for trial in self._trials.values() if trial.candidate.rejected is not None]

    def best_usd(self, *, convincing: bool = False) -> float:
        """Of all trials, or of those whose floors the search split bears out: a doubtful one must not end the search."""
        return min((usd for _, usd, trial in self._told() if trial.convincing or not convincing), default=math.inf)

    def predicted_usd(self, proposal: Proposal) -> float:
        return math.exp(self._posterior(proposal)[0])

    def optimistic_usd(self, proposal: Proposal) -> float:
        mean, sd = self._posterior(proposal)
        return math.exp(mean - OPTIMISM * sd)

    def relative_error(self) -> float | None:
        """Median |predicted / actual - 1| of the profile's own predictions, over the builds that were tried."""
        errors = [abs(self._prior_usd(p) / usd - 1) for p, usd, _ in self._told()]
        return float(np.median(errors)) if errors else None

    def untried(self) -> list[Proposal]:
        return [p for p in self.proposals if p not in self._trials]

    def stopped_by(self, proposal: Proposal) -> Proposal | None:
        """What was turned down for its quality although it takes away no more than this one, which is therefore hopeless."""
        return next((failed for failed in self._failed() if _takes_more(proposal, failed)), None)

    def _waits(self, proposal: Proposal) -> bool:
        """For the verdict on a milder setting of its method of structure."""
        milder = {p.daring for p in self.proposals if _alike(p, proposal) and p.daring < proposal.daring}
        passed = {p.daring for p, _, trial in self._told() if _alike(p, proposal) and trial.convincing}
        return bool(milder) and max(milder) not in passed

    def _failed(self) -> list[Proposal]:
        """Turned down for their quality."""
        turned_down = ((p, trial.candidate.rejected) for p, trial in self._trials.items())
        return [proposal for proposal, rejected in turned_down if rejected is not None and rejected.stage == "race"]

    def _told(self) -> list[tuple[Proposal, float, Trial]]:
        """What was measured and not turned down."""
        return [
            (proposal, trial.candidate.cost.usd_per_million, trial)
            for proposal, trial in self._trials.items()
            if trial.candidate.cost is not None and trial.candidate.rejected is None
        ]

    def _prior_usd(self, proposal: Proposal) -> float:
        return self.baseline_usd / proposal.predicted_speedup

    def _row(self, proposal: Proposal) -> Array:
        return np.array([float(name in proposal.features) for name in self._names])

    def _posterior(self, proposal: Proposal) -> tuple[float, float]:
        row, prior = self._row(proposal), math.log(self._prior_usd(proposal))
        told = self._told()
        precision = np.eye(len(self._names)) / PRIOR_SD**2
        moment = np.zeros(len(self._names))
        if told:
            design = np.stack([self._row(p) for p, _, _ in told])
            surprise = np.array([math.log(usd / self._prior_usd(p)) for p, usd, _ in told])
            precision = precision + design.T @ design / NOISE_SD**2
            moment = design.T @ surprise / NOISE_SD**2
        covariance = np.linalg.inv(precision)
        return prior + float(row @ covariance @ moment), math.sqrt(float(row @ covariance @ row) + NOISE_SD**2)


def _alike(one: Proposal, other: Proposal) -> bool:
    """The same method of structure, perhaps set otherwise, repaired or not."""
    return bool(one.cut) and (one.cut, one.repaired) == (other.cut, other.repaired)


def _takes_more(proposal: Proposal, failed: Proposal) -> bool:
    """Whether it takes away all that `failed` takes away, or more, and repairs no more of it."""
    if proposal.repaired != failed.repaired or (proposal.cut != failed.cut and failed.cut):
        return False
    same = {step for step in failed.build.recipe if step.name != failed.cut}
    return bool(failed.build.recipe) and same <= set(proposal.build.recipe) and proposal.daring >= failed.daring
