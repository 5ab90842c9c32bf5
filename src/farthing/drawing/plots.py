"""The bill step by step, and the latencies under load, as plotly.js reads them; below them, what all plots share."""

import html
import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from farthing.facts import finalists, role
from farthing.results import Cost, Decision
from farthing.units import ms
from farthing.wording import labels, milliseconds, plain, usd

Figure = dict[str, Any]  # {"data": [...], "layout": {...}}, as plotly.js reads it

INK, MUTED, GRID, WARNING = "#1b1f24", "#57606a", "#e4e2dc", "#a04400"
# Okabe and Ito's, which the colour-blind can tell apart
BLUE, GREEN, VERMILLION, ORANGE, SKY, PURPLE, GREY = "#0072b2", "#009e73", "#d55e00", "#e69f00", "#56b4e9", "#cc79a7", "#8c959f"
DOLLARS = {"tickprefix": "$", "exponentformat": "none"}
LABEL_WIDTH = 22  # characters of a label beside an axis: on a phone it must leave room for the bars
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
        "margin": {"l": 56, "r": 20, "t": 24, "b": 56},
        "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": axis | (x or {}),
        "yaxis": axis | (y or {}),
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": GRID, "font": {"color": INK}, "align": "left"},
    }
    return {"data": list(data), "layout": layout}


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
        "tickangle": 0,
    }


def wrapped(text: str, width: int) -> str:
    """Escaped and broken into lines, after an underscore too: plotly reads `<br>` and a few tags in its texts."""
    return "<br>".join(html.escape(line) for line in _lines(text, width))


def _lines(text: str, width: int) -> list[str]:
    """Words, and the parts of a name that its underscores join, packed into lines of at most `width`."""
    lines = [""]
    for word in text.replace("_", "_ ").split(" "):
        glue = "" if not lines[-1] or lines[-1].endswith("_") else " "
        if len(lines[-1]) + len(glue) + len(word) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] += glue + word
    return lines


def limit_line(*, x0: float | None = None, y0: float | None = None) -> Figure:
    """A dashed limit right across the plot, at x0 or at y0."""
    dashes = {"type": "line", "line": {"color": VERMILLION, "dash": "dash", "width": 1.5}}
    if x0 is not None:
        return dashes | {"x0": x0, "x1": x0, "y0": 0, "y1": 1, "yref": "paper"}
    return dashes | {"y0": y0, "y1": y0, "x0": 0, "x1": 1, "xref": "paper"}


def band(y0: float, y1: float) -> Figure:
    area = {"type": "rect", "x0": 0, "x1": 1, "xref": "paper", "y0": y0, "y1": y1, "layer": "below"}
    return area | {"fillcolor": "rgba(213,94,0,0.07)", "line": {"width": 0}}


def note(text: str, **place: Any) -> Figure:
    return {
        "text": text,
        "showarrow": False,
        "bgcolor": "rgba(255,255,255,0.8)",
        "yanchor": "bottom",
        "font": {"color": WARNING, "size": 12},
    } | place
