"""The bill step by step, and the latencies under load, as plotly.js reads them."""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

from farthing.reporting.canvas import (
    BLUE,
    DOLLARS,
    GREEN,
    GREY,
    GRID,
    LABEL_WIDTH,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Figure,
    figure,
    limit_line,
    log_axis,
    note,
    wrapped,
)
from farthing.reporting.facts import finalists, role
from farthing.reporting.wording import labels, milliseconds, usd
from farthing.results import Cost, Decision
from farthing.units import ms

TOGETHER = "several steps together"  # the bar of the interaction
MAX_CURVE_POINTS = 400


def bill(decision: Decision) -> Figure | None:
    """Waterfall from the baseline's bill to the choice's: each step's own share, then what only their union saves."""
    before, after = decision.baseline.cost, decision.chosen.cost if decision.chosen else None
    if decision.verdict != "saves" or before is None or after is None:
        return None
    measured = sorted((b for b in decision.waterfall if b.measured), key=lambda b: -b.usd_per_million_saved)
    steps = [(wrapped(b.step, LABEL_WIDTH), -b.usd_per_million_saved) for b in measured]
    rest = (
        (wrapped(TOGETHER, LABEL_WIDTH), -decision.interaction_usd_per_million)
        if steps
        else ("all steps", _change(before, after))
    )
    names, changes = zip(*steps, rest, strict=True)
    rows = ["today", *names, "with farthing"]
    levels = list(accumulate(changes, initial=before.usd_per_million))
    bars = {
        "type": "waterfall",
        "orientation": "h",
        "y": rows,
        "x": [before.usd_per_million, *changes, after.usd_per_million],
        "measure": ["absolute", *("relative" for _ in changes), "total"],
        "connector": {"line": {"color": GRID, "width": 1}},
        "decreasing": {"marker": {"color": GREEN}},
        "increasing": {"marker": {"color": VERMILLION}},
        "totals": {"marker": {"color": BLUE}},
        "hoverinfo": "skip",
    }
    texts = {
        "type": "scatter",
        "mode": "text",
        "y": rows,
        "x": [levels[0], *map(max, pairwise(levels)), levels[-1]],  # where each bar ends on the right
        "text": [f" {usd(levels[0])}", *(f" {_signed(change)}" for change in changes), f" {usd(after.usd_per_million)}"],
        "textposition": "middle right",
        "cliponaxis": False,
        "hoverinfo": "skip",
    }
    span = [1.1 * min(0.0, *levels), 1.6 * max(levels)]
    x_axis = {"title": {"text": "USD per million"}, "range": span, "nticks": 4} | DOLLARS
    drawn = figure([bars, texts], x=x_axis, y={"autorange": "reversed", "showgrid": False, "dtick": 1})
    drawn["layout"] |= {"showlegend": False, "height": 130 + 58 * len(rows)}
    return drawn


def latencies(decision: Decision) -> Figure | None:
    """Share of requests answered within t, for each deployment that was driven with load; ceilings are dashed."""
    driven = [c for c in finalists(decision) if c.latencies_s]
    if not driven:
        return None
    colours = {"baseline": GREY, "choice": BLUE}
    spare = iter((ORANGE, GREEN, PURPLE, SKY) * len(driven))
    traces: list[Figure] = []
    for candidate, label in zip(driven, labels([c.deployment for c in driven]), strict=True):
        part = role(decision, candidate)
        line = {"color": colours.get(part) or next(spare), "width": 3 if part == "choice" else 2, "shape": "hv"}
        x, y = _curve(candidate.latencies_s)
        hover = "%{y:.1%} within %{x:.3g} ms<extra>" + part + "</extra>"
        trace = {"type": "scatter", "mode": "lines", "name": wrapped(f"{part}: {label}", 32), "x": x, "y": y, "line": line}
        traces.append(trace | {"hovertemplate": hover})
    limits = decision.slo.ceilings() if decision.slo else ()
    span = [ms(s) for c in driven for s in c.latencies_s] + [ms(limit) for _, limit in limits]
    x_axis = {"title": {"text": "latency, ms (log)"}} | log_axis(min(span) / 1.1, max(span) * 1.25)
    y_axis = {"title": {"text": "share of requests"}, "tickformat": ".0%", "range": [0, 1.04]}
    drawn = figure(traces, x=x_axis, y=y_axis)
    drawn["layout"]["shapes"] = [limit_line(x0=ms(limit)) for _, limit in limits]
    drawn["layout"]["annotations"] = [
        note(
            f"p{p:g} up to {milliseconds(limit)}", x=math.log10(ms(limit)), y=0.5, yref="paper", textangle=-90, xanchor="right"
        )
        | {"yanchor": "middle"}
        for p, limit in limits
    ]
    return drawn


def _change(before: Cost, after: Cost) -> float:
    return after.usd_per_million - before.usd_per_million


def _signed(change: float) -> str:
    return f"{'−' if change < 0 else '+'}{usd(abs(change))}"


def _curve(ordered_s: Sequence[float]) -> tuple[list[float], list[float]]:
    """Latencies in ms and the share of requests at or below each, thinned to MAX_CURVE_POINTS."""
    last = len(ordered_s) - 1
    picked = sorted({round(i * last / (MAX_CURVE_POINTS - 1)) for i in range(MAX_CURVE_POINTS)})
    return [ms(ordered_s[i]) for i in picked], [(i + 1) / len(ordered_s) for i in picked]
