"""The evidence of the page, in the order in which it is read: each part takes the Decision and gives its HTML."""

import math
from dataclasses import replace

from farthing import facts
from farthing.drawing import pareto, plots, roofline
from farthing.drawing.markup import (
    Safe,
    badge,
    bullets,
    deployed,
    empty,
    fine,
    glossary,
    join,
    lead,
    measured,
    named_list,
    plot,
    predicted,
    table,
    tag,
    term,
    verdict,
)
from farthing.facts import Estimate
from farthing.results import Candidate, Cost, CostLine, Decision, Profile
from farthing.units import SECONDS_PER_HOUR
from farthing.wording import (
    grams,
    joules,
    mebibytes,
    milliseconds,
    percent,
    plain,
    seconds,
    usd,
)

MAX_LAYERS = 5  # that are listed as the most sensitive
BESIDE = (  # figures of the driven load, after the latencies
    ("throughput_per_s", "per second", plain),
    ("peak_bytes", "memory", mebibytes),
    ("artifact_bytes", "on disk", mebibytes),
    ("cold_start_s", "start", seconds),
)


def bill(decision: Decision) -> Safe:
    label = (
        "Waterfall of the bill in USD per million requests, from today's cost to that of the choice; the table below has it all"
    )
    drawing = plot(plots.bill(decision), "bill", label)
    if drawing is None:
        return empty("Nothing is changed, so there is no saving to split into steps.")
    intro = lead("Each bar is one step's own share, by ", term("leave-one-out"), ": what the bill would rise by without it.")
    head = ("step", "USD per million without it", "its own share")
    rows = [
        (bar.step, usd(bar.usd_per_million_without), usd(bar.usd_per_million_saved))
        for bar in decision.waterfall
        if bar.measured
    ]
    figures = tag("details", tag("summary", "The same as a table"), table(head, rows, numeric=(1, 2))) if rows else Safe()
    return join([intro, drawing, *_together(decision), figures])


def _together(decision: Decision) -> list[Safe]:
    """What the interaction is made of here, and which steps have no bar."""
    missing = [bar for bar in decision.waterfall if not bar.measured]
    rest = decision.interaction_usd_per_million
    if not decision.waterfall:
        return []
    if rest >= 0:
        why = "each step lowers a bill that the others have lowered already, so taking a single one away brings back little"
    else:
        why = "steps need each other: without one, another saves less too, and this bar takes back what was counted twice"
    own = (
        f" It also holds the share of {' and '.join(bar.step for bar in missing)}, which cannot be taken away alone."
        if missing
        else ""
    )
    explained = tag(
        "p", tag("b", f"{plots.TOGETHER.capitalize()} ({usd(rest)})"), " is the ", term("interaction"), f": {why}.{own}"
    )
    return [explained, bullets([join([tag("b", bar.step), f" has no bar: {bar.note}."]) for bar in missing])]


def prices(decision: Decision) -> Safe:
    parts: list[str] = [lead("What a million requests use, at which price, where the price comes from and when it was seen.")]
    chosen = [] if decision.chosen in (None, decision.baseline) else [("With farthing", decision.chosen)]
    for title, candidate in (("Today", decision.baseline), *chosen):
        if candidate is not None and candidate.cost is not None:
            parts += [tag("h3", title), _cost_lines(candidate.cost)]
    ranges = (
        ("the rate in requests per second", decision.cheapest_rates_per_s),
        ("the price of a GiB-hour over that of a vCPU-hour", decision.cheapest_price_ratios),
    )
    holds = [f"The choice stays the cheapest {_while(what, *span)}." for what, span in ranges if span]
    return join([*parts, tag("h3", "How far this holds") if holds else Safe(), bullets(holds)])


def choices(decision: Decision) -> Safe:
    everyone = [candidate for candidate in facts.everyone(decision) if candidate.cost]
    label = (
        f"Cost against quality lost of {len(everyone)} deployments, coloured by p99 latency; the table below has every figure"
    )
    drawing = plot(pareto.pareto(decision), "pareto", label)
    head = (
        "",
        "deployment",
        "USD per million",
        "USD predicted",
        "p50",
        "p99",
        "p99 predicted",
        "loss seen",
        "at most",
        "certificate",
    )
    rows = [_choice(decision, candidate) for candidate in everyone]
    kept = [i for i, name in enumerate(head) if "predicted" not in name or any(row[i] != "–" for row in rows)]
    cut = table([head[i] for i in kept], [[row[i] for i in kept] for row in rows], numeric=range(2, len(kept) - 1))
    full = tag("details", tag("summary", f"All {len(rows)} priced deployments"), cut)
    intro = lead(
        "Every deployment that was priced: cheaper is left, better is up. In the shaded part more is lost than is allowed. ",
        "Dotted: the ", term("Pareto front"), ". The whisker reaches down to the largest loss that the data leaves room for. ",
        "Hollow: its latency or cost is ", term("predicted"), ". A triangle: worse than the plot reaches.",
    )  # fmt: skip
    return join([intro, drawing or empty("Fewer than two deployments have both a cost and a measured quality."), full])


def _choice(decision: Decision, candidate: Candidate) -> tuple[str, ...]:
    assert candidate.cost is not None
    cost = Estimate(value=candidate.cost.usd_per_million, predicted=candidate.cost.predicted)
    lost = facts.drop(candidate)
    return (
        tag("b", facts.role(decision, candidate)),
        deployed(candidate),
        measured(cost, usd),
        predicted(cost, usd),
        measured(facts.estimate(candidate, "latency_p50_s"), milliseconds),
        measured(facts.estimate(candidate, "latency_p99_s"), milliseconds),
        predicted(facts.estimate(candidate, "latency_p99_s"), milliseconds),
        measured(lost, plain),
        plain(lost.high) if lost and lost.high is not None else "–",
        verdict(facts.tightest(candidate)),
    )


def latency(decision: Decision) -> Safe:
    label = "Share of requests answered within a given latency, one curve a deployment; the table below has p50, p95 and p99"
    drawing = plot(plots.latencies(decision), "latencies", label)
    driven = [c for c in facts.finalists(decision) if c.latencies_s or c.figure("throughput_per_s")]
    if not driven:
        return empty("No deployment was driven with load.")
    intro = lead(
        term("Latency", "latency"), " when requests come as they would in service. A curve further left is faster; ",
        "dashed: what the job allows. All figures of the table are measured.",
    )  # fmt: skip
    beside = [(name, title, write) for name, title, write in BESIDE if any(c.figure(name) for c in driven)]
    head = ("", "deployment", "p50", "p95", "p99", *(title for _, title, _ in beside))
    rows = [
        (tag("b", facts.role(decision, c)), deployed(c), *(_spread(c, p) for p in (50, 95, 99)),
         *(measured(facts.estimate(c, name), write) for name, _, write in beside))
        for c in driven
    ]  # fmt: skip
    protocols = sorted({m.protocol for c in driven if (m := c.figure("latency_p99_s") or c.figure("throughput_per_s"))})
    return join(
        [intro, drawing or Safe(), table(head, rows, numeric=range(2, len(head))), fine(f"Protocol: {'; '.join(protocols)}.")]
    )


def _spread(candidate: Candidate, percentile: int) -> Safe:
    found = facts.estimate(candidate, f"latency_p{percentile}_s")
    if found is None or found.predicted or found.low is None or found.high is None:
        return Safe("–")
    return join([milliseconds(found.value), tag("small", f"{milliseconds(found.low)} to {milliseconds(found.high)}")])


def time(decision: Decision) -> Safe:
    if decision.profile is None:
        return empty("The original was not profiled.")
    profile = decision.profile
    head = ("what binds", "share of the time", "saves at most", "evidence")
    rows = [(_cause(f.cause), percent(f.share), percent(f.max_saving), f.evidence) for f in profile.findings]
    kinds = "Time by kind of operator, and how much the machine's ceilings would need; the table of operators has all of it"
    roof = plot(roofline.roofline(decision), "roofline", "Roofline: speed of each operator against its arithmetic intensity")
    lines = (term("roofline"), f" ({profile.device.source}).")
    parts = [
        lead("The original on ", profile.device.name, f": {_request_time(profile)}."),
        table(head, rows, numeric=(1, 2)) if rows else empty("No single limit stands out."),
        plot(roofline.time_by_kind(decision), "time-by-kind", kinds),
        tag("p", "Each dot is an operator, its area its time. The lines are the ", *lines) if roof else None,
        roof,
        _operators(profile),
        _sensitive(profile),
        _cannot_pay(profile),
    ]
    return join(part for part in parts if part)


def _cause(cause: str) -> Safe:
    return tag("b", term(cause, f"{cause} (limit)") if f"{cause} (limit)" in glossary() else cause)


def _operators(profile: Profile) -> Safe:
    head = ("operator", "kind", "time", "what binds", "of the ceiling")
    rows = [(op.name, op.kind, seconds(op.seconds), op.bound, percent(op.roofline_fraction)) for op in profile.ops]
    listed = table(head, rows, numeric=(2, 4))
    return tag("details", tag("summary", f"All {len(rows)} operators as a table"), listed) if rows else Safe()


def _sensitive(profile: Profile) -> Safe:
    if not profile.sensitivities:
        return Safe()
    rows = [(tag("code", layer), percent(error)) for layer, error in profile.sensitivities[:MAX_LAYERS]]
    of = f" (the worst {len(rows)} of {len(profile.sensitivities)})" if len(rows) < len(profile.sensitivities) else ""
    listed = table(("layer", "error of the model's output if it alone is int8"), rows, numeric=(1,))
    return join([tag("h3", f"Layers that suffer most from int8{of}"), listed])


def _cannot_pay(profile: Profile) -> Safe:
    rows = [(tag("b", family), why) for family, why in profile.skipped]
    return join([tag("h3", "Cannot pay here"), table(("what", "why"), rows)]) if rows else Safe()


def rejected(decision: Decision) -> Safe:
    turned_down = [(c, c.rejected) for c in facts.everyone(decision) if c.rejected is not None]
    if not turned_down:
        return empty("No candidate was rejected.")
    stages = facts.rejected_by_stage(decision)
    options = (tag("option", f"{stage} ({number})", value=stage) for stage, number in stages)
    field = tag(
        "input", id="filter", type="search", placeholder="Search name or reason", aria_label="Search the rejected candidates"
    )
    chooser = tag("select", tag("option", "all stages", value=""), *options, id="stage", aria_label="Stage")
    controls = tag("p", field, chooser, tag("output", f"{len(turned_down)} shown", id="shown"), class_="controls")
    rows = [(deployed(c), tag("b", _stage(why.stage)), why.reason) for c, why in turned_down]
    intro = lead("Nothing is dropped in silence: every candidate that left the search, at which stage and why.")
    return join([intro, controls, table(("candidate", "stage", "reason"), rows, row_ids="rejected-rows")])


def _stage(stage: str) -> Safe:
    key = f"{stage} (stage)"
    return term(stage, key) if key in glossary() else tag("span", stage)


def setting(decision: Decision) -> Safe:
    search = {"machine time": seconds(decision.search_s), "cost": usd(decision.search_usd), "seed": str(decision.seed)}
    splits = {split: f"{number:,} items" for split, number in decision.num_items.items()}
    where = named_list("Environment", decision.environment)
    return join([
        tag("h3", "Asked for"), bullets(facts.wanted(decision)),
        tag("h3", "Notes") if decision.notes else Safe(), bullets(list(decision.notes)),
        named_list("Splits of the data", splits), named_list("The search", search),
        tag("details", tag("summary", "Machine and versions"), where) if decision.environment else Safe(),
    ])  # fmt: skip


def _cost_lines(cost: Cost) -> Safe:
    head = ("what", "quantity per million", "unit", "USD per unit", "USD per million", "seen", "source")
    lines = [_hourly(line) for line in cost.lines]
    rows = [(x.sku, plain(x.quantity), x.unit, usd(x.usd_per_unit), usd(x.usd), x.observed_at or "–", x.source) for x in lines]
    total = f"{usd(cost.usd_per_million)} per million requests, {usd(cost.usd_per_month)} a month"
    where = f", which is {plain(cost.num_machines)} × {cost.machine}" if cost.machine else ""
    mark = badge("predicted") if cost.predicted else Safe()
    energy = Safe() if cost.joules_per_million is None else fine(_energy(cost))
    return join([table(head, rows, numeric=(1, 3, 4)), tag("p", tag("b", total), where, ".", mark), energy])


def _energy(cost: Cost) -> str:
    assert cost.joules_per_million is not None
    carbon = "" if cost.grams_co2e_per_million is None else f" and {grams(cost.grams_co2e_per_million)} CO2e"
    return f"Energy: {joules(cost.joules_per_million)}{carbon} per million; {cost.energy_source or 'source unknown'}."


def _hourly(line: CostLine) -> CostLine:
    """Prices are quoted by the hour; a second's is too small to be read."""
    unit, dash, second = line.unit.rpartition("-")
    if not dash or second != "second":
        return line
    scale = SECONDS_PER_HOUR
    return replace(line, unit=f"{unit}-hour", quantity=line.quantity / scale, usd_per_unit=line.usd_per_unit * scale)


def _while(what: str, low: float, high: float) -> str:
    if not math.isfinite(high):
        return f"while {what} is at least {plain(low)}" if low > 0 else f"whatever {what}"
    return f"while {what} is {f'between {plain(low)} and' if low > 0 else 'at most'} {plain(high)}"


def _request_time(profile: Profile) -> str:
    lengths = sorted(int(length) for length in profile.lengths)
    spread = (
        f"; lengths {lengths[0]} to {lengths[-1]}, half of them up to {lengths[len(lengths) // 2]}"
        if lengths and lengths[-1] > 1
        else ""
    )
    return f"{milliseconds(profile.model_s)} in the model and {milliseconds(profile.host_s)} around it, a request{spread}"
