"""Bill, choices and latencies as plotly.js reads them. Colours: Okabe and Ito's, which the colour-blind can tell apart."""

import html
import math
import textwrap
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from farthing.reporting.facts import (
    Estimate,
    drop,
    estimate,
    everyone,
    finalists,
    max_drop,
    milliseconds,
    name,
    plain,
    role,
    usd,
)
from farthing.results import Candidate, Cost, Decision
from farthing.units import ms

Figure = dict[str, Any]  # {"data": [...], "layout": {...}}

INK, MUTED, GRID = "#1b1f24", "#57606a", "#e4e2dc"
BLUE, GREEN, VERMILLION, ORANGE, SKY, PURPLE, GREY = "#0072b2", "#009e73", "#d55e00", "#e69f00", "#56b4e9", "#cc79a7", "#8c959f"
SYMBOLS = {"baseline": ("square", 14), "choice": ("star", 20), "finalist": ("diamond", 13), "candidate": ("circle", 11)}
DELAY_COLOURS = [[0, "#35a36d"], [0.4, "#31688e"], [1, "#440154"]]  # the dark part of viridis: it shows on white
DOLLARS = {"tickprefix": "$", "exponentformat": "none"}
MAX_CURVE_POINTS = 400


def bill(decision: Decision) -> Figure | None:
    """Waterfall from the baseline's bill to the choice's: each step's own share, then what only their union saves."""
    before, after = decision.baseline.cost, decision.chosen.cost if decision.chosen else None
    if decision.verdict != "saves" or before is None or after is None:
        return None
    measured = sorted((b for b in decision.waterfall if b.measured), key=lambda b: -b.usd_per_million_saved)
    steps = [(_wrapped(b.step, 24), -b.usd_per_million_saved) for b in measured]
    rest = ("interaction", -decision.interaction_usd_per_million) if steps else ("all steps", _change(before, after))
    labels, changes = zip(*steps, rest, strict=True)
    rows = ["today", *labels, "with farthing"]
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
    span = [1.1 * min(0.0, *levels), 1.35 * max(levels)]
    x_axis = {"title": {"text": "USD per million requests"}, "range": span} | DOLLARS
    drawn = figure([bars, texts], x=x_axis, y={"autorange": "reversed", "showgrid": False})
    drawn["layout"]["showlegend"] = False
    return drawn


def pareto(decision: Decision) -> Figure | None:
    """Cost against quality lost, coloured by p99 latency; up and left is better. Predicted figures are hollow."""
    shown = [(c, loss) for c in everyone(decision) if c.cost and (loss := _loss(decision, c))]
    if len(shown) < 2:
        return None
    allowed = max_drop(decision)
    certified = [loss.high or loss.value for c, loss in shown if c.certificates]
    floor_y = max([2.5 * allowed if allowed else 0.0, *(1.1 * y for y in certified)]) or max(loss.value for _, loss in shown)
    traces = [_front(decision, floor_y), *_points(decision, shown, floor_y)]
    costs = [c.cost.usd_per_million for c, _ in shown if c.cost]
    wide = max(costs) > 12 * min(costs)
    x = log_axis(min(costs) / 1.5, max(costs) * 1.5, prefix="$") if wide else {"rangemode": "tozero"} | DOLLARS
    top = min([0.0, *(loss.value for _, loss in shown)]) - 0.12 * floor_y
    y = {"title": {"text": "drop in quality"}, "range": [1.12 * floor_y, top], "zeroline": False}
    drawn = figure(traces, x={"title": {"text": "USD per million requests"}} | x, y=y)
    if allowed is not None:
        drawn["layout"]["shapes"] = [_line(y0=allowed), _band(allowed, 1.12 * floor_y)]
        drawn["layout"]["annotations"] = [
            _note(f"drop allowed: {plain(allowed)}", x=1, y=allowed, xref="paper", xanchor="right")
        ]
    return drawn


def latencies(decision: Decision) -> Figure | None:
    """Share of requests answered within t, for each deployment that was driven with load; ceilings are dashed."""
    driven = [c for c in finalists(decision) if c.latencies_s]
    if not driven:
        return None
    colours = {"baseline": GREY, "choice": BLUE}
    spare = iter((ORANGE, GREEN, PURPLE, SKY) * len(driven))
    traces: list[Figure] = []
    for candidate in driven:
        part = role(decision, candidate)
        label = _wrapped(f"{part}: {name(candidate.deployment)}", 36)
        line = {"color": colours.get(part) or next(spare), "width": 3 if part == "choice" else 2, "shape": "hv"}
        x, y = _curve(candidate.latencies_s)
        hover = "%{y:.1%} within %{x:.3g} ms<extra>" + part + "</extra>"
        traces.append({"type": "scatter", "mode": "lines", "name": label, "x": x, "y": y, "line": line, "hovertemplate": hover})
    limits = decision.slo.ceilings() if decision.slo else ()
    span = [ms(s) for c in driven for s in c.latencies_s] + [ms(limit) for _, limit in limits]
    x_axis = {"title": {"text": "latency, ms (log)"}} | log_axis(min(span) / 1.1, max(span) * 1.25)
    y_axis = {"title": {"text": "share of requests answered"}, "tickformat": ".0%", "range": [0, 1.04]}
    drawn = figure(traces, x=x_axis, y=y_axis)
    drawn["layout"]["shapes"] = [_line(x0=ms(limit)) for _, limit in limits]
    drawn["layout"]["annotations"] = [
        _note(f"p{p:g}: {milliseconds(limit)} allowed ", x=math.log10(ms(limit)), y=0.02, yref="paper", xanchor="right")
        for p, limit in limits
    ]
    return drawn


def figure(data: Sequence[Figure], *, x: Figure | None = None, y: Figure | None = None) -> Figure:
    axis = {
        "gridcolor": GRID,
        "linecolor": GRID,
        "zerolinecolor": GRID,
        "automargin": True,
        "ticks": "outside",
        "tickcolor": GRID,
    }
    layout = {
        "autosize": True,
        "margin": {"l": 64, "r": 24, "t": 24, "b": 56},
        "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": axis | (x or {}),
        "yaxis": axis | (y or {}),
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": GRID, "font": {"color": INK}, "align": "left"},
    }
    return {"data": list(data), "layout": layout}


def _change(before: Cost, after: Cost) -> float:
    return after.usd_per_million - before.usd_per_million


def _signed(change: float) -> str:
    return f"{'−' if change < 0 else '+'}{usd(abs(change))}"


def _loss(decision: Decision, candidate: Candidate) -> Estimate | None:
    return Estimate(value=0.0) if role(decision, candidate) == "baseline" else drop(candidate)


def _front(decision: Decision, floor_y: float) -> Figure:
    points = sorted(
        (c.cost.usd_per_million, min(loss.value, floor_y)) for c in decision.front if c.cost and (loss := _loss(decision, c))
    )
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "Pareto front",
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "line": {"color": MUTED, "dash": "dot", "width": 1.5},
        "hoverinfo": "skip",
    }


def _points(decision: Decision, shown: Sequence[tuple[Candidate, Estimate]], floor_y: float) -> list[Figure]:
    delays_ms = [ms(found.value) for c, _ in shown if (found := estimate(c, "latency_p99_s"))]
    colours = {
        "colorscale": DELAY_COLOURS,
        "cmin": min(delays_ms, default=0),
        "cmax": max(delays_ms, default=1),
    }
    bar = {"title": {"text": "p99, ms", "side": "right"}, "thickness": 12, "len": 0.9, "outlinewidth": 0}
    traces: list[Figure] = []
    for part, (symbol, size) in SYMBOLS.items():
        group = [(c, loss) for c, loss in shown if role(decision, c) == part]
        if not group:
            continue
        scale = colours | ({"colorbar": bar, "showscale": True} if delays_ms and not traces else {})
        above = [loss.high - loss.value if loss.high is not None and loss.high <= 1.1 * floor_y else None for _, loss in group]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": part,
                "x": [c.cost.usd_per_million for c, _ in group if c.cost],
                "y": [min(loss.value, floor_y) for _, loss in group],
                "error_y": {
                    "type": "data",
                    "array": above,
                    "arrayminus": [None if height is None else 0 for height in above],
                    "color": MUTED,
                    "thickness": 1.5,
                },
                "marker": _marker(group, symbol, size, floor_y) | scale,
                "text": [_hover(c, loss) for c, loss in group],
                "hovertemplate": f"%{{text}}<extra>{part}</extra>",
            }
        )
    return traces


def _marker(group: Sequence[tuple[Candidate, Estimate]], symbol: str, size: int, floor_y: float) -> Figure:
    """Hollow where the cost or the latency is predicted; a triangle at the edge for a drop that is off the scale."""
    delays = [estimate(c, "latency_p99_s") for c, _ in group]
    hollow = [
        (c.cost is not None and c.cost.predicted) or (d is not None and d.predicted)
        for (c, _), d in zip(group, delays, strict=True)
    ]
    shapes = ["triangle-down" if loss.value > floor_y else symbol for _, loss in group]
    return {
        "color": [ms(delay.value) if delay else None for delay in delays],
        "symbol": [f"{shape}-open" if is_open else shape for shape, is_open in zip(shapes, hollow, strict=True)],
        "size": size,
        "line": {"width": [2.5 if is_open else 1 for is_open in hollow]},
    }


def _hover(candidate: Candidate, loss: Estimate) -> str:
    assert candidate.cost is not None
    marks = {False: "", True: " (predicted)"}
    delay = estimate(candidate, "latency_p99_s")
    bound = f", at most {plain(loss.high)}" if loss.high is not None else ""
    return "<br>".join(
        [
            _wrapped(name(candidate.deployment), 48),
            f"{usd(candidate.cost.usd_per_million)} per million{marks[candidate.cost.predicted]}",
            f"drop {plain(loss.value)}{bound}{marks[loss.predicted]}",
            f"p99 {milliseconds(delay.value)}{marks[delay.predicted]}" if delay else "p99 not measured",
        ]
    )


def _curve(ordered_s: Sequence[float]) -> tuple[list[float], list[float]]:
    """Latencies in ms and the share of requests at or below each, thinned to MAX_CURVE_POINTS."""
    last = len(ordered_s) - 1
    picked = sorted({round(i * last / (MAX_CURVE_POINTS - 1)) for i in range(MAX_CURVE_POINTS)})
    return [ms(ordered_s[i]) for i in picked], [(i + 1) / len(ordered_s) for i in picked]


def _wrapped(text: str, width: int) -> str:
    """Escaped and broken into lines: plotly reads `<br>` and a few tags in its texts."""
    return "<br>".join(html.escape(line) for line in textwrap.wrap(text, width) or [""])


def log_axis(low: float, high: float, *, prefix: str = "") -> Figure:
    """Ticks at 1, 2, 5, 10, ... over a short span, at powers of ten over a long one."""
    steps = (1, 2, 5) if high < 100 * low else (1,)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
    return {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [f"{prefix}{plain(t)}" for t in ticks],
    }


def _line(*, x0: float | None = None, y0: float | None = None) -> Figure:
    """A dashed limit right across the plot, at x0 or at y0."""
    dashes = {"type": "line", "line": {"color": VERMILLION, "dash": "dash", "width": 1.5}}
    if x0 is not None:
        return dashes | {"x0": x0, "x1": x0, "y0": 0, "y1": 1, "yref": "paper"}
    return dashes | {"y0": y0, "y1": y0, "x0": 0, "x1": 1, "xref": "paper"}


def _band(y0: float, y1: float) -> Figure:
    area = {"type": "rect", "x0": 0, "x1": 1, "xref": "paper", "y0": y0, "y1": y1, "layer": "below"}
    return area | {"fillcolor": "rgba(213,94,0,0.07)", "line": {"width": 0}}


def _note(text: str, **place: Any) -> Figure:
    return {
        "text": text,
        "showarrow": False,
        "bgcolor": "rgba(255,255,255,0.8)",
        "yanchor": "bottom",
        "font": {"color": "#a04400", "size": 12},
    } | place
