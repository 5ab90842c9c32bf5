"""The parts of the page, in the order in which they are read: each takes the Decision and gives its HTML."""

import math
from collections.abc import Callable, Mapping

from farthing.reporting import facts, plots, roofline
from farthing.reporting.facts import Estimate, milliseconds, percent, plain, seconds, usd
from farthing.reporting.markup import Safe, join, script_json, table, tag, term
from farthing.results import Candidate, Certificate, Cost, Decision, Profile

MAX_LAYERS = 5  # that are listed as the most sensitive
MARGIN_WIDTH = 160  # of the drawing, in its own units


def bill(decision: Decision) -> Safe:
    figure = _plot(plots.bill(decision), "bill", "Waterfall of the bill, from today's cost to the cost of the choice")
    if figure is None:
        return empty("Nothing is changed, so there is no saving to split into steps.")
    intro = _lead(
        "Each bar is one step's own share, by ", term("leave-one-out"), "; what is left over is ", term("interaction"), "."
    )
    unmeasured = [tag("li", tag("b", bar.step), f" has no bar: {bar.note}.") for bar in decision.waterfall if not bar.measured]
    return join([intro, figure, tag("ul", *unmeasured) if unmeasured else Safe()])


def choices(decision: Decision) -> Safe:
    marks = (term("Pareto front"), "; hollow marks rest on a ", term("predicted"), " figure.")
    figure = _plot(
        plots.pareto(decision), "pareto", "Cost against drop in quality of every deployment, coloured by p99 latency"
    )
    head = ("", "deployment", "USD per million", "saved", "p50", "p99", "drop", "at most", "certificate")
    rows = [_choice(decision, candidate) for candidate in facts.everyone(decision) if candidate.cost]
    full = tag("details", tag("summary", f"All {len(rows)} priced deployments"), table(head, rows, numeric=range(2, 8)))
    intro = _lead("Every deployment that was priced; up and left is better. The dotted line is the ", *marks)
    return join([intro, figure or empty("Fewer than two deployments have both a cost and a measured quality."), full])


def latency(decision: Decision) -> Safe:
    figure = _plot(plots.latencies(decision), "latencies", "Share of requests answered within a given latency")
    if figure is None:
        return empty("No deployment was driven with load.")
    return join(
        [_lead(term("Latency", "latency"), " under load, each curve one deployment; dashed: the ceilings of the job."), figure]
    )


def quality(decision: Decision) -> Safe:
    tested = [candidate for candidate in facts.finalists(decision) if candidate.certificates]
    if not tested:
        return empty("No candidate came as far as a certificate.")
    intro = _lead(
        "One ", term("certificate"), " for each metric and each ", term("finalist"), ", on items that the search never saw."
    )
    head = ("deployment", "metric, before and after", "drop", "at most", "allowed", "margin", "verdict")
    rows = [_certificate(candidate, test) for candidate in tested for test in candidate.certificates]
    tests = [test for candidate in tested for test in candidate.certificates]
    protocols = sorted({f"{test.protocol}, one-sided at {100 * (1 - test.alpha):.4g}%" for test in tests})
    least = max(test.certifiable_drop for test in tests)
    last = tag("p", f"{'; '.join(protocols)}. The least drop that this data could certify: {plain(least)}.", class_="fine")
    return join([intro, table(head, rows, numeric=(2, 3, 4)), last])


def time(decision: Decision) -> Safe:
    if decision.profile is None:
        return empty("The original was not profiled.")
    profile = decision.profile
    head = ("what binds", "share of the time", "saves at most", "evidence")
    rows = [(tag("b", f.cause), percent(f.share), percent(f.max_saving), f.evidence) for f in profile.findings]
    roof = _plot(roofline.roofline(decision), "roofline", "Roofline: speed of each operator against its arithmetic intensity")
    lines = (term("roofline"), f" ({profile.device.source}).")
    suffer = {layer: f"{percent(error)} error of the output" for layer, error in profile.sensitivities[:MAX_LAYERS]}
    parts = [
        _lead("The original on ", profile.device.name, f": {_request_time(profile)}."),
        table(head, rows, numeric=(1, 2)) if rows else empty("No single limit stands out."),
        _plot(roofline.time_by_kind(decision), "time-by-kind", "Time by kind of operator, against what the roofline allows"),
        tag("p", "Each dot is an operator, its area its time. The lines are the ", *lines) if roof else None,
        roof,
        _named_list("Layers that suffer most from int8", suffer),
        _named_list("Not tried, because it cannot pay here", dict(profile.skipped)),
    ]
    return join(part for part in parts if part)


def rejected(decision: Decision) -> Safe:
    turned_down = [(c, c.rejected) for c in facts.everyone(decision) if c.rejected is not None]
    if not turned_down:
        return empty("No candidate was rejected.")
    stages = facts.rejected_by_stage(decision)
    options = (tag("option", f"{stage} ({number})", value=stage) for stage, number in stages)
    controls = tag(
        "p",
        tag(
            "input",
            id="filter",
            type="search",
            placeholder="Search name or reason",
            aria_label="Search the rejected candidates",
        ),
        tag("select", tag("option", "all stages", value=""), *options, id="stage", aria_label="Stage"),
        tag("output", f"{len(turned_down)} shown", id="shown"),
        class_="controls",
    )
    rows = [(_code(c), tag("b", why.stage), why.reason) for c, why in turned_down]
    intro = _lead("Failure is data: every candidate that left the search, where it left and why.")
    return join([intro, controls, table(("candidate", "stage", "reason"), rows, row_ids="rejected-rows")])


def prices(decision: Decision) -> Safe:
    parts: list[str] = [_lead("What a million requests use, at which price, where the price comes from and when it was seen.")]
    chosen = [] if decision.chosen in (None, decision.baseline) else [("With farthing", decision.chosen)]
    for title, candidate in (("Today", decision.baseline), *chosen):
        if candidate is not None and candidate.cost is not None:
            parts += [tag("h3", title), _cost_lines(candidate.cost)]
    ranges = (
        ("the rate in requests per second", decision.cheapest_rates_per_s),
        ("the price of a GiB-hour over that of a vCPU-hour", decision.cheapest_price_ratios),
    )
    holds = [f"The choice stays the cheapest {_while(what, *span)}." for what, span in ranges if span]
    return join([*parts, *(tag("p", line) for line in holds)])


def setting(decision: Decision) -> Safe:
    search = {"machine time": seconds(decision.search_s), "cost": usd(decision.search_usd), "seed": str(decision.seed)}
    splits = {split: f"{number:,} items" for split, number in decision.num_items.items()}
    parts = [
        tag("h3", "Asked for"),
        tag("ul", *(tag("li", line) for line in facts.asked(decision))),
        _named_list("Splits of the data", splits),
        _named_list("The search", search),
        _named_list("Environment", decision.environment),
        tag("h3", "Notes") if decision.notes else Safe(),
        tag("ul", *(tag("li", note) for note in decision.notes)),
    ]
    return join(parts)


def _plot(figure: plots.Figure | None, name: str, label: str) -> Safe | None:
    if figure is None:
        return None
    return tag(
        "div",
        tag("script", script_json(figure), type="application/json"),
        class_="plot",
        id=f"plot-{name}",
        aria_label=label,
        role="figure",
    )


def _lead(*words: str) -> Safe:
    return tag("p", *words, class_="lead")


def empty(text: str) -> Safe:
    return tag("p", text, class_="empty")


def _named_list(title: str, pairs: Mapping[str, str]) -> Safe:
    if not pairs:
        return Safe()
    rows = (tag("div", tag("dt", key), tag("dd", value)) for key, value in pairs.items())
    return join([tag("h3", title), tag("dl", *rows)])


def _choice(decision: Decision, candidate: Candidate) -> tuple[str, ...]:
    assert candidate.cost is not None
    today, lost = decision.baseline.cost, facts.drop(candidate)
    cost = Estimate(value=candidate.cost.usd_per_million, predicted=candidate.cost.predicted)
    share = 1 - cost.value / today.usd_per_million if today and candidate.cost != today else None
    saved = None if share is None else Estimate(value=share, predicted=cost.predicted)
    return (
        tag("b", facts.role(decision, candidate)),
        _code(candidate),
        shown(cost, usd),
        shown(saved, percent),
        shown(facts.estimate(candidate, "latency_p50_s"), milliseconds),
        shown(facts.estimate(candidate, "latency_p99_s"), milliseconds),
        shown(lost, plain),
        plain(lost.high) if lost and lost.high is not None else "–",
        verdict(facts.tightest(candidate)),
    )


def _certificate(candidate: Candidate, test: Certificate) -> tuple[str, ...]:
    items = f"{test.num_items:,} items" + (f", about {test.items_missing:,} more needed" if test.items_missing else "")
    metric = f"{test.metric}, {test.slice}" if test.slice else test.metric
    change = tag("small", f"{plain(test.original)} → {plain(test.candidate)}")
    figures = map(plain, (test.drop, test.upper_bound, test.max_drop))
    return (_code(candidate), join([metric, change]), *figures, _margin(test), join([verdict(test), tag("small", items)]))


def _code(candidate: Candidate) -> Safe:
    return tag("code", facts.name(candidate.deployment))


def _margin(test: Certificate) -> Safe:
    """Dot at the drop, bar up to its bound, on green as far as it is allowed and red beyond."""
    bound = test.upper_bound if math.isfinite(test.upper_bound) else 2 * max(test.max_drop, test.drop)
    low, high = 1.1 * min(0.0, test.drop), 1.15 * max(test.max_drop, bound, test.drop)

    def x(value: float) -> str:
        return f"{MARGIN_WIDTH * (value - low) / (high - low):.1f}"

    def bar(start: float, end: float, class_: str) -> Safe:
        return tag("line", x1=x(start), x2=x(end), y1="10", y2="10", class_=class_)

    dot = tag("circle", cx=x(test.drop), cy="10", r="4")
    lines = (bar(low, test.max_drop, "allowed"), bar(test.max_drop, high, "refused"), bar(test.drop, bound, "reach"), dot)
    label = f"drop {plain(test.drop)}, at most {plain(test.upper_bound)}, {plain(test.max_drop)} allowed"
    return tag("svg", *lines, class_="margin", viewBox=f"0 0 {MARGIN_WIDTH} 20", role="img", aria_label=label)


def _cost_lines(cost: Cost) -> Safe:
    head = ("what", "quantity per million", "unit", "USD per unit", "USD per million", "source", "seen")
    rows = [
        (line.sku, plain(line.quantity), line.unit, usd(line.usd_per_unit), usd(line.usd), line.source, line.observed_at or "–")
        for line in cost.lines
    ]
    total = f"{usd(cost.usd_per_million)} per million requests, {usd(cost.usd_per_month)} a month"
    where = f" on {plain(cost.num_machines)} of {cost.machine}" if cost.machine else ""
    power = "" if cost.joules_per_million is None else f"; {facts.joules(cost.joules_per_million)}"
    carbon = "" if cost.grams_co2e_per_million is None else f" and {facts.grams(cost.grams_co2e_per_million)} CO2e per million"
    origin = f" ({cost.energy_source})" if power and cost.energy_source else ""
    mark = shown(Estimate(value=0.0, predicted=True), lambda _: " ") if cost.predicted else Safe()
    return join([table(head, rows, numeric=(1, 3, 4)), tag("p", total, where, power, carbon, origin, ".", mark, class_="fine")])


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


def shown(found: Estimate | None, write: Callable[[float], str]) -> Safe:
    """A figure of a table or tile: a dash where there is none, a badge where it is predicted."""
    if found is None:
        return Safe("–")
    badge = tag("span", "predicted", class_="predicted", title=found.origin) if found.predicted else Safe()
    return join([write(found.value), badge])


def verdict(test: Certificate | None) -> Safe:
    return tag("span", test.verdict, class_=f"verdict {test.verdict.lower()}") if test else Safe("–")
