"""The live view with and without a terminal, the last table, the summary."""

import io
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from farthing.reporting.terminal import LiveView, summary, table
from farthing.testing import decisions
from farthing.types import Learning


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
        "[    0.0 s] stage: search, trying builds, the best predicted first",
        "[    0.0 s] measured openvino [1x2 threads] (3.2 s): $0.0314 per million requests",
        "[    0.0 s] best so far: $0.0314 per million requests, openvino [bold]",
        "[    0.0 s] rejected int8: race: the drop is too large",
        "[    0.0 s] one family was skipped",
        "[    0.0 s] done: report run/report.html",
    ]


def test_on_a_terminal_the_panel_holds_stage_best_counts_and_time_left() -> None:
    stream = Terminal()
    with LiveView(stream, clock=lambda: 5.0) as view:
        tell(view)
        view.event("stage", {"name": "search"})
    shown = stream.getvalue()
    for part in (
        "search",
        "openvino [bold]",
        "2 done, 1 of them rejected",
        "60 s left for the search",
        "the drop is too large",
    ):
        assert part in shown, part


LEARNING = Learning(share=0.5, epoch=1, num_epochs=2, left_s=12.0)


def test_a_training_is_a_bar_with_the_time_left_and_elsewhere_a_line_an_epoch() -> None:
    stream, plain = Terminal(), io.StringIO()
    with LiveView(stream, clock=lambda: 5.0) as view:
        view.event("learning", {"learning": LEARNING})
    assert "██████████░░░░░░░░░░ 50" in stream.getvalue() and "at most 12 s left" in stream.getvalue()
    with LiveView(plain, clock=lambda: 5.0) as view:
        view.event("learning", {"learning": LEARNING})
        view.event("learning", {"learning": replace(LEARNING, loss=0.25)})
    assert plain.getvalue() == "[    0.0 s] learning: epoch 1 of 2: held-out loss 0.25, at most 12 s left\n"


def test_the_table_says_what_where_and_what_next() -> None:
    text = table(decisions.saves(), Path("runs/x"), today=date(2026, 12, 1))
    for part in ("baseline", "choice", "80.1%", "PASS", "INCONCLUSIVE", "not tried: 8", "1 at race", "runs/x/report.html"):
        assert part in text, part
    assert text.endswith("Next:     farthing verify runs/x/artifact")


def test_what_more_minutes_would_tell_is_said_at_the_end() -> None:
    notes = ("3 builds predicted to be cheaper were not tried: give the search more minutes", "splits by default: 1%")
    told = " ".join(table(replace(decisions.saves(), notes=notes)).split())
    assert "3 builds predicted to be cheaper were not tried: give the search more minutes." in told
    assert "splits by default" not in told


def test_without_a_choice_the_table_names_the_nearest() -> None:
    text = " ".join(table(decisions.nothing()).split())
    assert "Nearest: torch_to_onnx + onnx_to_openvino + int8_static" in text
    assert "1,900 more items" in text and "p99 is 8.8 ms, 4 ms is allowed" in text
    assert "farthing verify" not in text


def test_the_summary_names_cost_quality_and_evidence() -> None:
    text = summary(decisions.saves())
    for part in (
        "80.1% (79.2% to 80.9%) less",
        "$20.76 becomes $4.13 a month",
        "$0.158 becomes $0.0314",
        "PASS: spearman falls by at most 0.00005, 0.005 may be lost; 98.33% confidence on 1,379 unseen items",
    ):
        assert part in text, part
    assert summary(decisions.keep()).startswith("Keep what you have")
    assert decisions.keep().relax[0] in summary(decisions.keep())


def test_a_line_of_the_panel_is_cut_rather_than_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stream = Terminal()
    with LiveView(stream, clock=lambda: 5.0) as view:
        view.event("trial", {"label": "int8", "rejected": "race: " + "far too long a reason " * 20})
    assert stream.getvalue().count("far too long") <= 3 * stream.getvalue().count("lately") and "…" in stream.getvalue()


def test_no_time_left_is_told_once_the_search_is_over() -> None:
    stream = Terminal()
    with LiveView(stream, clock=lambda: 5.0) as view:
        view.event("stage", {"name": "drive", "left_s": 90.0})
    assert "left for the search" not in stream.getvalue()


def test_each_floor_and_slice_has_its_line() -> None:
    lines = summary(decisions.slices()).splitlines()
    assert lines[2].startswith("PASS: spearman, language fr falls by at most 0.0097, 0.01 may be lost;")
    assert sum(line.startswith("PASS: ") for line in lines) == 5


def test_old_prices_are_told_at_the_end() -> None:
    assert "Old prices" in " ".join(table(decisions.saves(), today=date(2027, 12, 1)).split())
    assert "Old prices" not in table(decisions.saves(), today=date(2026, 12, 1))
