"""The live view with and without a terminal, the last table, the summary."""

import io
from pathlib import Path

from farthing.reporting.terminal import LiveView, summary, table
from farthing.testing import decisions


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def tell(view: LiveView) -> None:
    view.event("stage", {"name": "search", "left_s": 90.0})
    view.event("trial", {"label": "openvino [1x2 threads]", "usd_per_million": 0.0314, "seconds": 3.2})
    view.event("best", {"label": "openvino [bold]", "usd_per_million": 0.0314})
    view.event("trial", {"label": "int8", "rejected": "race: the drop\n  is too large"})
    view.event("budget", {"left_s": 60.0})
    view.event("note", {"text": "one family was skipped"})
    view.event("done", {"report": Path("run/report.html"), "artifact": None})


def test_without_a_terminal_every_event_is_one_plain_line() -> None:
    stream = io.StringIO()
    with LiveView(stream, clock=lambda: 5.0) as view:
        tell(view)
    assert stream.getvalue().splitlines() == [
        "[    0.0 s] stage: search",
        "[    0.0 s] measured openvino [1x2 threads]: $0.0314 per million (3.2 s)",
        "[    0.0 s] best so far $0.0314 per million: openvino [bold]",
        "[    0.0 s] rejected int8: race: the drop is too large",
        "[    0.0 s] one family was skipped",
        "[    0.0 s] done: report run/report.html",
    ]


def test_on_a_terminal_the_panel_holds_stage_best_counts_and_time_left() -> None:
    stream = Terminal()
    with LiveView(stream, clock=lambda: 5.0) as view:
        tell(view)
    shown = stream.getvalue()
    for part in (
        "search",
        "openvino [bold]",
        "2 done, 1 of them rejected",
        "60 s left for the search",
        "the drop is too large",
    ):
        assert part in shown, part


def test_the_table_says_what_where_and_what_next() -> None:
    text = table(decisions.saves(), Path("runs/x"))
    for part in ("baseline", "choice", "80.1%", "PASS", "INCONCLUSIVE", "Turned down: 8", "1 at race", "runs/x/report.html"):
        assert part in text, part
    assert text.endswith("Next:     farthing verify runs/x/artifact")


def test_without_a_choice_the_table_names_the_nearest() -> None:
    text = " ".join(table(decisions.nothing()).split())
    assert "Nearest: torch_to_onnx + onnx_to_openvino + int8_static" in text
    assert "1,900 more items" in text and "p99 is 8.8 ms, 4 ms is allowed" in text
    assert "farthing verify" not in text


def test_the_summary_names_cost_quality_and_evidence() -> None:
    text = summary(decisions.saves())
    for part in (
        "80.1% (79.2% to 80.9%) less",
        "$0.158 becomes $0.0314",
        "0.00005 (0.005 allowed)",
        "1,379 unseen items: PASS",
    ):
        assert part in text, part
    assert summary(decisions.keep()).startswith("Keep what you have")
    assert decisions.keep().relax[0] in summary(decisions.keep())
