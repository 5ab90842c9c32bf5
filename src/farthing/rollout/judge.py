"""judge(): two versions' counts -> worse, no worse, or not known yet; it may be asked at any moment, as often as one likes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from farthing.betting import rate_above, rate_below
from farthing.errors import JobError
from farthing.rollout.evidence import MOST_RELATIVE, Arm, Evidence

NUM_GUARDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """How much worse the candidate may be: in shares of requests, and of the stable version's cost."""

    failed: float = 0.01
    slow: float = 0.05
    differs: float = 0.05
    cost: float = 0.1
    alpha: float = 0.05  # chance of a rollback without reason, and of a promotion without right, each

    def __post_init__(self) -> None:
        for name in ("failed", "slow", "differs", "cost", "alpha"):
            value = getattr(self, name)
            if not 0.0 < value < 1.0:
                raise JobError(f"{name} = {value}: a share between 0 and 1 is needed, such as {getattr(Margins(), name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    name: str
    stable: tuple[float, float]  # bounds of its mean
    candidate: tuple[float, float]
    limit: float
    verdict: Literal["worse", "no worse", "open"]

    def __str__(self) -> str:
        low, high = self.candidate
        return f"{self.name}: {self.verdict} (between {low:.3g} and {high:.3g}; up to {self.limit:.3g} is no worse)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    verdict: Literal["worse", "no worse", "open"]
    guards: tuple[Guard, ...]

    @property
    def reason(self) -> str:
        return "; ".join(str(guard) for guard in self.guards if guard.verdict == self.verdict)


def judge(evidence: Evidence, margins: Margins) -> Judgement:
    """worse: in one of errors, latency, quality and cost, shown at alpha together (a guard has a quarter, an arm half of it).

    no worse: in all of them, each shown at alpha: a promotion without right needs all four to err (intersection-union test,
    Berger 1982). Bounds hold at every moment together, so that looking often costs nothing: betting for shares, empirical
    Bernstein for cost (Waudby-Smith & Ramdas 2024). They suppose that what is counted does not drift with time.
    """
    alarms, passes = (tuple(_guards(evidence, margins, alpha)) for alpha in (margins.alpha / NUM_GUARDS, margins.alpha))
    if any(guard.verdict == "worse" for guard in alarms):
        return Judgement(verdict="worse", guards=alarms)
    if all(guard.verdict == "no worse" for guard in passes):
        return Judgement(verdict="no worse", guards=passes)
    return Judgement(verdict="open", guards=passes)


def _guards(evidence: Evidence, margins: Margins, alpha: float) -> Iterator[Guard]:
    stable, candidate = evidence.stable, evidence.candidate
    for name in ("failed", "slow"):
        bounds = [_rate(arm.requests, getattr(arm, name), alpha / 2) for arm in (stable, candidate)]
        yield _against(name, bounds[0], bounds[1], margin=getattr(margins, name))
    yield _against("differs", (0.0, 0.0), _rate(evidence.compared, evidence.differing, alpha), margin=margins.differs)
    yield _cost(stable, candidate, margins.cost)


def _rate(num_items: int, num_events: int, alpha: float) -> tuple[float, float]:
    return rate_below(num_items, num_events, alpha), rate_above(num_items, num_events, alpha)


def _against(
    name: str, stable: tuple[float, float], candidate: tuple[float, float], *, margin: float = 0.0, factor: float = 1.0
) -> Guard:
    verdict: Literal["worse", "no worse", "open"] = "open"
    if candidate[0] > stable[1] * factor + margin:
        verdict = "worse"
    elif candidate[1] <= stable[0] * factor + margin:
        verdict = "no worse"
    return Guard(name=name, stable=stable, candidate=candidate, limit=stable[0] * factor + margin, verdict=verdict)


def _cost(stable: Arm, candidate: Arm, margin: float) -> Guard:
    """Its bounds have an alpha of their own (`evidence.ALPHA_OF_COST`): the stakes behind them were laid with it."""
    bounds = [tuple(MOST_RELATIVE * bound for bound in arm.cost.bounds) for arm in (stable, candidate)]
    return _against("cost", (bounds[0][0], bounds[0][1]), (bounds[1][0], bounds[1][1]), factor=1.0 + margin)
