"""Where the time of the original goes: its operators under the roofline, and its time by kind of operator."""

import html
import math
from collections.abc import Sequence

from farthing.drawing.plots import BLUE, INK, ORANGE, PURPLE, Figure, figure, log_axis
from farthing.results import Decision, Device, Op, Profile
from farthing.units import ms
from farthing.wording import percent, seconds

BOUNDS = {"compute": BLUE, "memory": ORANGE, "overhead": PURPLE}


def roofline(decision: Decision) -> Figure | None:
    """flop/s reached against flop/byte, one point an operator (area: its time), under min(peak, intensity * bandwidth).

    Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009.
    """
    profile = decision.profile
    ops = [op for op in profile.ops if op.flops > 0 and op.bytes > 0 and op.seconds > 0] if profile else []
    if profile is None or not ops:
        return None
    intensities = [op.flops / op.bytes for op in ops]
    lowest, highest = min(intensities) / 3, max(intensities) * 6
    traces = [*_ceilings(profile.device, lowest, highest), *_operators(ops, sum(op.seconds for op in profile.ops))]
    x = {"title": {"text": "arithmetic intensity, flop per byte"}} | log_axis(lowest, highest)
    y = {"type": "log", "title": {"text": "speed reached, flop/s"}, "tickformat": "~s", "dtick": 1}
    return figure(traces, x=x, y=y)


def time_by_kind(decision: Decision) -> Figure | None:
    """Time of the original by kind of operator: what the ceilings allow, and what lies above it."""
    if decision.profile is None or not decision.profile.ops:
        return None
    kinds, needed, total = _by_kind(decision.profile)
    shares = [percent(t / sum(total)) for t in total]
    common = {
        "type": "bar",
        "orientation": "h",
        "y": kinds,
        "hovertemplate": "%{y}: %{x:.3g} ms<extra>%{fullData.name}</extra>",
    }
    allowed = {"name": "needed at the roofline", "x": [ms(t) for t in needed], "marker": {"color": BLUE}}
    above = {
        "name": "above it",
        "x": [ms(t - n) for t, n in zip(total, needed, strict=True)],
        "marker": {"color": ORANGE, "pattern": {"shape": "/", "fillmode": "overlay", "fgcolor": "#ffffff", "size": 6}},
        "text": shares,
        "textposition": "outside",
        "cliponaxis": False,
    }
    x_axis = {"title": {"text": "ms per request batch"}, "range": [0, 1.15 * ms(max(total))], "nticks": 6}
    drawn = figure([common | allowed, common | above], x=x_axis, y={"dtick": 1})
    drawn["layout"] |= {"barmode": "stack", "height": 130 + 24 * len(kinds)}
    drawn["layout"]["legend"]["traceorder"] = "normal"
    return drawn


def _ceilings(device: Device, lowest: float, highest: float) -> list[Figure]:
    """min(peak, intensity * bandwidth) for each dtype whose peak was measured."""
    traces: list[Figure] = []
    peaks = sorted((peak, dtype) for dtype, peak in device.flops_per_s.items() if peak > 0)
    for (peak, dtype), dash in zip(peaks, ("solid", "dash", "dot", "dashdot"), strict=False):
        ridge = peak / device.bytes_per_s if device.bytes_per_s else lowest
        x = sorted({lowest, min(max(ridge, lowest), highest), highest})
        y = [min(peak, i * device.bytes_per_s) if device.bytes_per_s else peak for i in x]
        label = f"{dtype} ceiling, {peak / 1e9:,.0f} Gflop/s"
        line = {"color": INK, "dash": dash, "width": 1.5}
        traces.append({"type": "scatter", "mode": "lines", "name": label, "x": x, "y": y, "line": line, "hoverinfo": "name"})
    return traces


def _operators(ops: Sequence[Op], total_s: float) -> list[Figure]:
    traces: list[Figure] = []
    for bound, colour in BOUNDS.items():
        group = [op for op in ops if op.bound == bound]
        if not group:
            continue
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"{bound} bound",
                "x": [op.flops / op.bytes for op in group],
                "y": [op.flops / op.seconds for op in group],
                "marker": {
                    "color": colour,
                    "opacity": 0.75,
                    "size": [8 + 60 * math.sqrt(op.seconds / total_s) for op in group],
                },
                "text": [f"{html.escape(op.name)} ({html.escape(op.kind)})<br>{seconds(op.seconds)}" for op in group],
                "hovertemplate": "%{text}<br>%{y:.3s}flop/s<extra></extra>",
            }
        )
    return traces


def _by_kind(profile: Profile) -> tuple[list[str], list[float], list[float]]:
    """(kinds, seconds at the roofline, seconds taken), the longest last: plotly draws bars from below."""
    total: dict[str, float] = {}
    needed: dict[str, float] = {}
    for op in profile.ops:
        total[op.kind] = total.get(op.kind, 0.0) + op.seconds
        needed[op.kind] = needed.get(op.kind, 0.0) + op.seconds * min(op.roofline_fraction, 1.0)
    kinds = sorted(total, key=lambda kind: total[kind])
    return [html.escape(kind) for kind in kinds], [needed[kind] for kind in kinds], [total[kind] for kind in kinds]
