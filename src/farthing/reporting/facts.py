"""What the table and the page read out of a Decision, and how they write its figures."""

import math
from collections import Counter
from dataclasses import dataclass, replace

from farthing.results import Candidate, Certificate, Decision, Measurement
from farthing.types import Deployment, Floor
from farthing.units import MILLION, SECONDS_PER_HOUR, ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One figure as the report shows it: `predicted` ones are marked wherever they appear."""

    value: float
    low: float | None = None
    high: float | None = None
    predicted: bool = False
    origin: str = ""  # the protocol of a measurement, the model of a prediction


def name(deployment: Deployment) -> str:
    """`str(deployment)` with what it leaves out: replicas and the machine."""
    replicas = f" x {deployment.replicas} replicas" if deployment.replicas > 1 else ""
    return f"{deployment}{replicas}{f' on {deployment.machine}' if deployment.machine else ''}"


def saved(decision: Decision) -> Estimate | None:
    """Share of the baseline's cost that the choice saves; None where nothing was chosen or nothing is saved."""
    if decision.saving is None:
        return None
    ratio = decision.saving
    return Estimate(value=1 - ratio.value, low=1 - ratio.high, high=1 - ratio.low, origin=ratio.protocol)


def estimate(candidate: Candidate, figure: str) -> Estimate | None:
    """The measured figure of that name, else the predicted one, else None."""
    measured = candidate.figure(figure)
    if measured is not None:
        return of_measurement(measured)
    for guess in candidate.predictions:
        if guess.name == figure:
            return Estimate(value=guess.value, predicted=True, origin=guess.model)
    return None


def of_measurement(measured: Measurement) -> Estimate:
    return Estimate(value=measured.value, low=measured.low, high=measured.high, origin=measured.protocol)


def drop(candidate: Candidate) -> Estimate | None:
    """Fall of the first floor's metric: from its certificate, else the figure `drop` of the search split."""
    if candidate.certificates:
        first = candidate.certificates[0]
        return Estimate(value=first.drop, high=first.upper_bound, origin=first.protocol)
    return estimate(candidate, "drop")


def tightest(candidate: Candidate) -> Certificate | None:
    """The certificate with the least margin relative to what is allowed; None where none was asked for."""
    return max(candidate.certificates, key=lambda c: c.upper_bound / c.max_drop if c.max_drop else c.upper_bound, default=None)


def max_drop(decision: Decision) -> float | None:
    """The drop that the first floor allows."""
    for candidate in everyone(decision):
        if candidate.certificates:
            return candidate.certificates[0].max_drop
    return decision.floors[0].max_drop if decision.floors else None


def everyone(decision: Decision) -> list[Candidate]:
    """Every candidate once, in a fixed order: choice, baseline, measured ones (cheapest first), front, rejected.

    One that was measured and turned down later is a single candidate with its figures and its reason.
    """
    found: list[Candidate] = []
    deployments: list[Deployment] = []  # beside `found`; knobs need not be hashable
    chosen = () if decision.chosen is None else (decision.chosen,)
    for candidate in (*chosen, decision.baseline, *decision.candidates, *decision.front, *decision.rejected):
        if candidate.deployment not in deployments:
            deployments.append(candidate.deployment)
            found.append(candidate)
        elif candidate.rejected is not None:
            place = deployments.index(candidate.deployment)
            found[place] = replace(found[place], rejected=candidate.rejected)
    return found


def role(decision: Decision, candidate: Candidate) -> str:
    """baseline, choice, finalist or candidate."""
    if candidate.deployment == decision.baseline.deployment:
        return "baseline"
    if decision.chosen is not None and candidate.deployment == decision.chosen.deployment:
        return "choice"
    return "finalist" if candidate.certificates or candidate.latencies_s else "candidate"


def finalists(decision: Decision) -> list[Candidate]:
    """Baseline, choice, then those that were certified or driven with load, the cheapest first."""
    ranks = {"baseline": 0, "choice": 1, "finalist": 2}
    found = [c for c in everyone(decision) if role(decision, c) in ranks]
    return sorted(found, key=lambda c: (ranks[role(decision, c)], c.cost.usd_per_million if c.cost else float("inf")))


def nearest(decision: Decision, limit: int = 3) -> list[Candidate]:
    """Candidates that came nearest to being chosen: tested ones by their margin, then priced ones by cost."""
    others = [c for c in everyone(decision) if role(decision, c) in ("finalist", "candidate")]

    def distance(candidate: Candidate) -> tuple[bool, float]:
        test = tightest(candidate)
        if test is not None:
            return False, test.upper_bound - test.max_drop
        return True, candidate.cost.usd_per_million if candidate.cost else float("inf")

    return sorted((c for c in others if c.certificates or c.cost), key=distance)[:limit]


def why_not(decision: Decision, candidate: Candidate) -> str:
    """Why this candidate was not chosen: every promise that it does not keep."""
    reasons = [] if candidate.rejected is None else [f"{candidate.rejected.stage}: {candidate.rejected.reason}"]
    for test in candidate.certificates if not reasons else ():
        if test.verdict == "INCONCLUSIVE":
            reasons.append(f"about {test.items_missing:,} more items would settle whether it keeps {test.metric}")
        elif test.verdict == "FAIL":
            reasons.append(f"{test.metric} may fall by {plain(test.upper_bound)}, {plain(test.max_drop)} is allowed")
    for percentile, limit in decision.slo.ceilings() if decision.slo else ():
        found = estimate(candidate, f"latency_p{percentile:g}_s")
        if found is not None and found.value > limit:
            reasons.append(f"p{percentile:g} is {milliseconds(found.value)}, {milliseconds(limit)} is allowed")
    return "; ".join(reasons) or "another one is cheaper"


def rejected_by_stage(decision: Decision) -> list[tuple[str, int]]:
    """(stage, how many were turned down there), the busiest first."""
    return Counter(c.rejected.stage for c in decision.rejected if c.rejected is not None).most_common()


def asked(decision: Decision) -> list[str]:
    """Floors, traffic and ceilings, in words."""
    lines = [_floor(floor) for floor in decision.floors]
    if decision.traffic is not None:
        lines.append(f"{decision.traffic.scenario} traffic {traffic(decision)}".strip())
    return [*lines, f"latency: {ceilings(decision)}"] if ceilings(decision) else lines


def traffic(decision: Decision) -> str:
    told = decision.traffic
    if told is None:
        return ""
    if told.requests_per_month is not None:
        return f"of {count(told.requests_per_month)} requests a month"
    if told.rate_per_s is not None:
        return f"at {plain(told.rate_per_s)} requests per second"
    return f"of {count(told.num_items)} items a run" if told.num_items else ""


def ceilings(decision: Decision) -> str:
    limits = decision.slo.ceilings() if decision.slo else ()
    return ", ".join(f"p{p:g} up to {milliseconds(limit)}" for p, limit in limits)


def _floor(floor: Floor) -> str:
    limits = [] if floor.max_drop is None else [f"may drop by at most {plain(floor.max_drop)}"]
    limits += [] if floor.minimum is None else [f"must reach {plain(floor.minimum)}"]
    allowed = floor.max_drop if floor.slice_max_drop is None else floor.slice_max_drop
    limits += [] if floor.slices is None or allowed is None else [f"by {plain(allowed)} in each {floor.slices}"]
    return f"{floor.metric} {' and '.join(limits)}, shown at {100 * floor.confidence:g}% confidence"


def usd(value: float) -> str:
    """Cents where they matter, three significant digits below one dollar."""
    sign, size = ("-" if value < 0 else ""), abs(value)
    if size >= 100:
        return f"{sign}${size:,.0f}"
    if size >= 1 or size == 0:
        return f"{sign}${size:.2f}"
    return f"{sign}${size:.{2 - math.floor(math.log10(size))}f}"


def percent(share: float) -> str:
    """One decimal; two from 99.5% to 100%, where the last tenth is a factor."""
    return f"{100 * share:.{2 if 0.995 <= share < 1 else 1}f}%"


def plain(value: float) -> str:
    """Four significant digits, without an exponent where that can be read."""
    size = abs(value)
    if not math.isfinite(value):
        return "unbounded"
    if size >= 1e9 or 0 < size < 1e-6:
        return f"{value:.3g}"
    if size >= 1e4:
        return f"{value:,.0f}"
    decimals = 3 - math.floor(math.log10(size)) if size else 0
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def seconds(value: float) -> str:
    for limit, scale, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (120.0, 1.0, "s"), (2 * SECONDS_PER_HOUR, 1 / 60, "min")):
        if value < limit:
            return f"{value * scale:.3g} {unit}"
    hours = value / SECONDS_PER_HOUR
    return f"{hours:.3g} h" if hours < 72 else f"{hours / 24:,.0f} days"


def milliseconds(value: float) -> str:
    return f"{ms(value):.3g} ms" if ms(value) < 1000 else f"{value:.3g} s"


def joules(value: float) -> str:
    return f"{value / 1e3:,.3g} kJ" if value >= 1e3 else f"{value:.3g} J"


def grams(value: float) -> str:
    return f"{value / 1e3:,.3g} kg" if value >= 1e3 else f"{value:.3g} g"


def count(value: float) -> str:
    if value >= MILLION:
        return f"{value / MILLION:,.3g} million"
    return f"{value:,.0f}"
