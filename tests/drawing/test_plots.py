"""The figures: plotly accepts them, and they show what the decision says."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from farthing.drawing import pareto, plots
from farthing.drawing.plots import Figure
from farthing.results import Decision
from farthing.testing import decisions

FIGURES = (plots.bill, pareto.pareto, plots.latencies)


def shown(draw: Callable[[Decision], Figure | None], decision: Decision) -> Figure:
    figure = draw(decision)
    assert figure is not None
    return figure


@pytest.mark.parametrize("draw", FIGURES)
def test_plotly_accepts_every_figure(draw: Callable[[Decision], Figure | None]) -> None:
    from plotly.graph_objects import Figure as Checked

    Checked(shown(draw, decisions.saves()))


@pytest.mark.parametrize("draw", FIGURES)
def test_no_data_no_figure(draw: Callable[[Decision], Figure | None]) -> None:
    decision = decisions.saves()
    bare = replace(decision.baseline, cost=None, latencies_s=())
    empty = replace(decision, verdict="keep", baseline=bare, chosen=None, candidates=(), front=(), rejected=(), profile=None)
    assert draw(empty) is None


def test_the_bill_adds_up() -> None:
    decision = decisions.saves()
    bars = shown(plots.bill, decision)["data"][0]
    before, *changes, after = bars["x"]
    assert before + sum(changes) == pytest.approx(after)
    assert bars["y"][0] == "today" and bars["y"][-2:] == ["several steps together", "with farthing"]
    assert changes[:-1] == sorted(changes[:-1])  # the largest saving first
    assert "onnx_to_openvino" not in bars["y"]  # it could not be left out: no bar


def test_the_bill_without_an_ablation_has_one_step() -> None:
    bars = shown(plots.bill, replace(decisions.saves(), waterfall=()))["data"][0]
    assert bars["y"] == ["today", "all steps", "with farthing"]
    assert sum(bars["x"][:2]) == pytest.approx(bars["x"][2])


def test_each_priced_candidate_is_one_point_and_predictions_are_hollow() -> None:
    decision = decisions.saves()
    traces = {trace["name"]: trace for trace in shown(pareto.pareto, decision)["data"]}
    points = [name for name in traces if name in pareto.SYMBOLS]
    assert sum(len(traces[name]["x"]) for name in points) == len(decision.candidates)
    assert traces["choice"]["marker"]["symbol"] == ["star"]
    assert all(symbol.endswith("-open") for symbol in traces["candidate"]["marker"]["symbol"])
    assert any("predicted" in text for text in traces["candidate"]["text"])
    assert "triangle-down-open" in traces["candidate"]["marker"]["symbol"]  # a drop that is off the scale
    notes = [note["text"] for note in shown(pareto.pareto, decision)["layout"]["annotations"]]
    assert notes == ["<b>choice</b> $0.0314", "<b>baseline</b> $0.158", "floor: 0.005 may be lost"]
    assert len(traces["Pareto front"]["x"]) == len(decision.front)


def test_latency_curves_end_at_all_requests_and_ceilings_lie_in_view() -> None:
    decision = decisions.saves()
    figure = shown(plots.latencies, decision)
    for trace, candidate in zip(figure["data"], (decision.baseline, *decision.candidates), strict=False):
        assert trace["y"][-1] == 1.0
        assert trace["x"][-1] == 1e3 * max(candidate.latencies_s)
        assert len(trace["x"]) <= plots.MAX_CURVE_POINTS
    low, high = figure["layout"]["xaxis"]["range"]
    assert all(10**low < shape["x0"] < 10**high for shape in figure["layout"]["shapes"])


def test_a_long_name_is_broken_where_it_can_be() -> None:
    assert plots.wrapped("nncf_int8(keep_float=0, smooth_quant=0.8)", 16) == "nncf_int8(keep_<br>float=0, smooth_<br>quant=0.8)"
    assert plots.wrapped("<b>", 16) == "&lt;b&gt;" and plots.wrapped("", 16) == ""
