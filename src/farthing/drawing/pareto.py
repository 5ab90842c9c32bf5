"""Cost against quality lost, as plotly.js reads it: every deployment that was priced, the floor, the Pareto front."""

import math
from collections.abc import Sequence

from farthing.drawing.plots import DOLLARS, INK, MUTED, Figure, band, figure, limit_line, log_axis, note, wrapped
from farthing.facts import Estimate, drop, estimate, everyone, max_drop, role
from farthing.results import Candidate, Decision
from farthing.units import ms
from farthing.wording import milliseconds, name, plain, usd

SYMBOLS = {"baseline": ("square", 14), "choice": ("star", 20), "finalist": ("diamond", 13), "candidate": ("circle", 11)}
CALLED = ("baseline", "choice")  # marks that carry their name in the plot
DELAY_COLOURS = [[0, "#35a36d"], [0.4, "#31688e"], [1, "#440154"]]  # the dark part of viridis: it shows on white
WIDE = 4.0  # dearest / cheapest beyond which the axis of cost is logarithmic

Shown = Sequence[tuple[Candidate, Estimate]]  # candidates with what they lose


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
    wide = max(costs) > WIDE * min(costs)
    span = min(costs) / 1.5, max(costs) * 1.8
    x = log_axis(*span, prefix="$") if wide else {"range": [0, span[1]]} | DOLLARS
    top = min([0.0, *(loss.value for _, loss in shown)]) - 0.2 * floor_y
    metric = decision.floors[0].metric if decision.floors else "quality"
    y = {"title": {"text": f"loss of {metric}"}, "range": [1.12 * floor_y, top], "zeroline": False}
    title = f"USD per million{' (log)' if wide else ''}"
    drawn = figure(traces, x={"title": {"text": title, "standoff": 6}} | x, y=y)
    drawn["layout"]["annotations"] = [
        _name(decision, c, loss, wide, floor_y) for c, loss in shown if role(decision, c) in CALLED
    ]
    if allowed is not None:
        drawn["layout"]["shapes"] = [limit_line(y0=allowed), band(allowed, 1.12 * floor_y)]
        drawn["layout"]["annotations"] += [_floor(allowed)]
    return drawn


def _floor(allowed: float) -> Figure:
    return note(f"floor: {plain(allowed)} may be lost", x=1, y=allowed, xref="paper", xanchor="right")


def _name(decision: Decision, candidate: Candidate, loss: Estimate, wide: bool, floor_y: float) -> Figure:
    assert candidate.cost is not None
    x = math.log10(candidate.cost.usd_per_million) if wide else candidate.cost.usd_per_million
    text = f"<b>{role(decision, candidate)}</b> {usd(candidate.cost.usd_per_million)}"
    place = {"x": x, "y": min(loss.value, floor_y), "xanchor": "center", "yshift": 12}
    return note(text, **place) | {"font": {"color": INK, "size": 12}}


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


def _points(decision: Decision, shown: Shown, floor_y: float) -> list[Figure]:
    scale = _colours([ms(found.value) for c, _ in shown if (found := estimate(c, "latency_p99_s"))])
    traces: list[Figure] = []
    for part, (symbol, size) in SYMBOLS.items():
        group = [(c, loss) for c, loss in shown if role(decision, c) == part]
        if not group:
            continue
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
                "marker": _marker(group, symbol, size, floor_y) | scale | {"showscale": not traces and bool(scale)},
                "text": [_hover(c, loss) for c, loss in group],
                "hovertemplate": f"%{{text}}<extra>{part}</extra>",
            }
        )
    return traces


def _colours(delays_ms: Sequence[float]) -> Figure:
    """A logarithmic scale of p99, below the plot so that a phone has room for it; empty where no latency is known."""
    if not delays_ms:
        return {}
    low, high = min(delays_ms) / 1.05, max(delays_ms) * 1.05
    ticks = log_axis(low, high)
    inside = [(v, t) for v, t in zip(ticks["tickvals"], ticks["ticktext"], strict=True) if low <= v <= high]
    bar = {
        "title": {"text": "colour: p99 latency, ms (log)", "side": "bottom"},
        "orientation": "h",
        "x": 0.5,
        "y": -0.3,
        "yanchor": "top",
        "thickness": 10,
        "outlinewidth": 0,
        "tickangle": 0,
        "tickvals": [math.log10(v) for v, _ in inside],
        "ticktext": [t for _, t in inside],
    }
    return {"colorscale": DELAY_COLOURS, "cmin": math.log10(low), "cmax": math.log10(high), "colorbar": bar}


def _marker(group: Shown, symbol: str, size: int, floor_y: float) -> Figure:
    """Hollow where the cost or the latency is predicted; a triangle at the edge for a drop that is off the scale."""
    delays = [estimate(c, "latency_p99_s") for c, _ in group]
    hollow = [
        (c.cost is not None and c.cost.predicted) or (d is not None and d.predicted)
        for (c, _), d in zip(group, delays, strict=True)
    ]
    shapes = ["triangle-down" if loss.value > floor_y else symbol for _, loss in group]
    return {
        "color": [math.log10(ms(delay.value)) if delay else None for delay in delays],
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
            wrapped(name(candidate.deployment), 48),
            f"{usd(candidate.cost.usd_per_million)} per million{marks[candidate.cost.predicted]}",
            f"drop {plain(loss.value)}{bound}{marks[loss.predicted]}",
            f"p99 {milliseconds(delay.value)}{marks[delay.predicted]}" if delay else "p99 not measured",
        ]
    )
