"""What all plots share: colours, axes, limits and notes. Colours: Okabe and Ito's, which the colour-blind can tell apart."""

import html
import math
from collections.abc import Sequence
from typing import Any

from farthing.reporting.wording import plain

Figure = dict[str, Any]  # {"data": [...], "layout": {...}}, as plotly.js reads it

INK, MUTED, GRID, WARNING = "#1b1f24", "#57606a", "#e4e2dc", "#a04400"
BLUE, GREEN, VERMILLION, ORANGE, SKY, PURPLE, GREY = "#0072b2", "#009e73", "#d55e00", "#e69f00", "#56b4e9", "#cc79a7", "#8c959f"
DOLLARS = {"tickprefix": "$", "exponentformat": "none"}
LABEL_WIDTH = 22  # characters of a label beside an axis: on a phone it must leave room for the bars


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
