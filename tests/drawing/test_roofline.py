"""The roofline and the time by kind: what plotly accepts and the profile says."""

from dataclasses import replace

import pytest

from farthing.drawing import roofline
from farthing.testing import decisions


def test_plotly_accepts_both() -> None:
    from plotly.graph_objects import Figure

    Figure(roofline.roofline(decisions.saves()))
    Figure(roofline.time_by_kind(decisions.saves()))


def test_no_profile_no_figure() -> None:
    unprofiled = replace(decisions.saves(), profile=None)
    assert roofline.roofline(unprofiled) is None and roofline.time_by_kind(unprofiled) is None


def test_operators_lie_below_the_ceilings_that_were_measured() -> None:
    decision = decisions.saves()
    assert decision.profile is not None
    figure = roofline.roofline(decision)
    assert figure is not None
    points = [(x, y) for t in figure["data"] if t["mode"] == "markers" for x, y in zip(t["x"], t["y"], strict=True)]
    assert len(points) == sum(op.flops > 0 for op in decision.profile.ops)
    device = decision.profile.device
    assert all(y <= 1.001 * min(device.flops_per_s["float32"], x * device.bytes_per_s) for x, y in points)
    tops = [max(trace["y"]) for trace in figure["data"] if trace["mode"] == "lines"]
    assert tops == sorted(device.flops_per_s.values())


def test_time_by_kind_is_all_the_time() -> None:
    decision = decisions.saves()
    assert decision.profile is not None
    figure = roofline.time_by_kind(decision)
    assert figure is not None
    needed, above = figure["data"]
    total_ms = sum(needed["x"]) + sum(above["x"])
    assert total_ms == pytest.approx(1e3 * sum(op.seconds for op in decision.profile.ops))
    assert needed["y"][-1] == "linear"  # drawn from below: the longest stands on top
