"""What the table and the page read out of a Decision."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from farthing.results import Candidate, Certificate, Cost, Decision, Measurement
from farthing.types import Deployment
from farthing.wording import asked, count, milliseconds, percent, plain, promise, reached, subject, usd

PRICE_SHELF_DAYS = 180  # a price that was seen longer ago is shown with a warning


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One figure as the report shows it: `predicted` ones are marked wherever they appear."""

    value: float
    low: float | None = None
    high: float | None = None
    predicted: bool = False
    origin: str = ""  # the protocol of a measurement, the model of a prediction


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
    """Fall of the first floor's metric below the original: from its certificate, else the figure `drop` of the search split."""
    if not candidate.certificates:
        return estimate(candidate, "drop")
    first = candidate.certificates[0]
    above = 0.0 if first.minimum is None else first.original - first.minimum  # there the drop is counted from the minimum
    return Estimate(value=first.drop + above, high=first.upper_bound + above, origin=first.protocol)


def worst_first(tests: Sequence[Certificate]) -> list[Certificate]:
    """FAIL, INCONCLUSIVE, PASS; among equals the one with the least room to its limit, in widths of its own uncertainty."""

    def room(test: Certificate) -> float:
        width = test.upper_bound - test.drop
        return (test.max_drop - test.upper_bound) / width if width > 0 else test.max_drop - test.upper_bound

    return sorted(tests, key=lambda t: (("FAIL", "INCONCLUSIVE", "PASS").index(t.verdict), room(t)))


def tightest(candidate: Candidate) -> Certificate | None:
    """The certificate with the least margin; None where none was asked for."""
    return next(iter(worst_first(candidate.certificates)), None)


def max_drop(decision: Decision) -> float | None:
    """The drop below the original that the first floor allows."""
    for candidate in everyone(decision):
        if candidate.certificates:
            first = candidate.certificates[0]
            return first.max_drop if first.minimum is None else first.original - first.minimum
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
    for test in worst_first(candidate.certificates) if not reasons else ():
        if test.verdict == "INCONCLUSIVE":
            more = f"about {test.items_missing:,} more items would settle whether it keeps"
            reasons.append(f"{more} {subject(test, decision.floors)}")
        elif test.verdict == "FAIL":
            reasons.append(f"{subject(test, decision.floors)}: {reached(test)}, {asked(test)}")
    for percentile, limit in decision.slo.ceilings() if decision.slo else ():
        found = estimate(candidate, f"latency_p{percentile:g}_s")
        if found is not None and found.value > limit:
            reasons.append(f"p{percentile:g} is {milliseconds(found.value)}, {milliseconds(limit)} is allowed")
    return "; ".join(reasons) or "another one is cheaper"


def rejected_by_stage(decision: Decision) -> list[tuple[str, int]]:
    """(stage, how many were turned down there), the busiest first."""
    return Counter(c.rejected.stage for c in decision.rejected if c.rejected is not None).most_common()


def missed(decision: Decision, candidate: Candidate) -> str:
    """The ceilings that this candidate's measured latency exceeds, in words; empty where it keeps them all."""
    found = [
        (p, limit, candidate.figure(f"latency_p{p:g}_s")) for p, limit in (decision.slo.ceilings() if decision.slo else ())
    ]
    return ", ".join(f"p{p:g} up to {milliseconds(limit)}" for p, limit, figure in found if figure and figure.value > limit)


def headline(decision: Decision) -> str:
    """The answer in one sentence: the bill per month before and after. The decision's own summary where nothing changes."""
    before, after, share = decision.baseline.cost, decision.chosen.cost if decision.chosen else None, saved(decision)
    if decision.verdict != "saves" or before is None or after is None or share is None:
        return decision.summary
    lost = "quality proven within your limits" if decision.chosen and decision.chosen.certified else "quality not tested"
    guess = ", as predicted" if after.predicted else ""
    change = f"{usd(before.usd_per_month)} a month becomes {usd(after.usd_per_month)}{guess}"
    return f"{change}: {percent(share.value)} less, with {lost}."


def wanted(decision: Decision) -> list[str]:
    """Floors, traffic and ceilings, in words."""
    lines = [promise(floor) for floor in decision.floors]
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


def is_modelled(cost: Cost | None) -> bool:
    """Whether the energy, or a part of it, was computed from a model rather than read from a sensor."""
    return cost is not None and "modelled" in cost.energy_source


def old_prices(decision: Decision, today: date) -> str:
    """A warning where prices were seen more than PRICE_SHELF_DAYS before today; empty if none, or if no date is known."""
    costs = [c.cost for c in (decision.baseline, decision.chosen) if c is not None and c.cost is not None]
    seen = {line.observed_at for cost in costs for line in cost.lines}
    days = {text: (today - day).days for text in seen if (day := _day(text)) is not None}
    old = sorted(text for text, age in days.items() if age > PRICE_SHELF_DAYS)
    if not old:
        return ""
    ages = " and ".join(f"{text} ({days[text]:,} days before this report)" for text in old)
    return (
        f"Old prices: they were seen on {ages}. Compare them with your own bill; if all of them moved alike, "
        "the dollars here move with them and the saving in percent stays."
    )


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None
