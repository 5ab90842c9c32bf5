"""The terminal: a live view while the search runs, and the table at its end."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from farthing.reporting import facts
from farthing.reporting.facts import Estimate, milliseconds, percent, plain, seconds, usd
from farthing.results import Candidate, Decision

STYLES = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "choice": "bold", "baseline": "dim"}
MAX_RECENT = 5
PLAIN_WIDTH = 140


class LiveView:
    """Draws the events of a search: a panel that is renewed on a terminal, one flushed line an event elsewhere.

    Events and their facts, of which any may be missing: stage {name}; trial {label, usd_per_million or rejected, seconds};
    best {label, usd_per_million}; budget {left_s}; note {text}; done {what: path}. Any event may carry left_s.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(file=stream or sys.stdout, highlight=False)
        self._clock = clock
        self._start_s = clock()
        self._stage = "start"
        self._best = "nothing yet"
        self._num_done = self._num_rejected = 0
        self._deadline_s: float | None = None
        self._recent: list[str] = []
        self._live: Live | None = None

    def __enter__(self) -> "LiveView":
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._panel, console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def event(self, name: str, told: Mapping[str, Any]) -> None:
        if "left_s" in told:
            self._deadline_s = self._clock() + float(told["left_s"])
        if name == "budget":
            return
        lines = {"stage": self._stage_line, "trial": self._trial_line, "best": self._best_line, "done": self._done_line}
        line = " ".join(lines.get(name, self._other_line)(told).split())  # a reason may have many lines
        self._recent = [*self._recent[1 - MAX_RECENT :], line]
        if self._live is None:
            print(f"[{self._clock() - self._start_s:7.1f} s] {line}", file=self._console.file, flush=True)

    def _stage_line(self, told: Mapping[str, Any]) -> str:
        self._stage = str(told["name"])
        return f"stage: {self._stage}"

    def _trial_line(self, told: Mapping[str, Any]) -> str:
        self._num_done += 1
        took = f" ({seconds(told['seconds'])})" if "seconds" in told else ""
        if "rejected" in told:
            self._num_rejected += 1
            return f"rejected {told['label']}: {told['rejected']}{took}"
        return f"measured {told['label']}: {usd(told['usd_per_million'])} per million{took}"

    def _best_line(self, told: Mapping[str, Any]) -> str:
        self._best = f"{usd(told['usd_per_million'])} per million: {told['label']}"
        return f"best so far {self._best}"

    def _done_line(self, told: Mapping[str, Any]) -> str:
        return "done: " + ", ".join(f"{what} {path}" for what, path in told.items() if path is not None)

    def _other_line(self, told: Mapping[str, Any]) -> str:
        return " ".join(str(fact) for fact in told.values())

    def _panel(self) -> Table:
        left = "" if self._deadline_s is None else seconds(max(0.0, self._deadline_s - self._clock()))
        grid = Table.grid(padding=(0, 2))
        rows = (
            ("stage", self._stage),
            ("best so far", self._best),
            ("trials", f"{self._num_done} done, {self._num_rejected} of them rejected"),
            ("time", f"{seconds(self._clock() - self._start_s)} gone" + (f", {left} left for the search" if left else "")),
            ("lately", "\n".join(self._recent)),
        )
        for key, value in rows:
            grid.add_row(Text(key, style="dim"), Text(value))  # Text: a name such as [1x2 threads] is not rich's markup
        return grid


def table(decision: Decision, directory: Path | None = None) -> str:
    """Baseline, choice and finalists side by side, what was turned down, where the files are, and what to run next."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    with console.capture() as captured:
        console.print(Group(_comparison(decision), *(Text(line) for line in _remarks(decision, directory))))
    return captured.get().rstrip()


def summary(decision: Decision) -> str:
    """What to do and why, in plain sentences."""
    share, chosen = facts.saved(decision), decision.chosen
    if decision.verdict != "saves" or chosen is None or share is None:
        return " ".join((decision.summary, *(f"To relax: {demand}." for demand in decision.relax)))
    test = facts.tightest(chosen)
    between = f" ({percent(share.low)} to {percent(share.high)})" if share.low is not None and share.high is not None else ""
    parts = [f"Run {facts.name(chosen.deployment)}: it costs {percent(share.value)}{between} less than today."]
    if decision.baseline.cost and chosen.cost:
        before, after = decision.baseline.cost, chosen.cost
        mark = " (predicted)" if after.predicted else ""
        parts.append(f"{usd(before.usd_per_million)} becomes {usd(after.usd_per_million)} per million requests{mark},")
        parts.append(f"{usd(before.usd_per_month)} becomes {usd(after.usd_per_month)} a month{mark}.")
    if test is not None:
        limits = f"falls by at most {plain(test.upper_bound)} ({plain(test.max_drop)} allowed)"
        parts.append(f"{test.metric} {limits}, shown on {test.num_items:,} unseen items: {test.verdict}.")
    return " ".join(parts)


def _comparison(decision: Decision) -> Table:
    grid = Table(title=decision.job_name, title_justify="left", header_style="bold", expand=False)
    for column in ("", "deployment", "USD per million", "saved", "p50", "p99", "drop at most", "verdict"):
        numeric = column not in ("", "deployment", "verdict")
        grid.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for candidate in facts.finalists(decision):
        part = facts.role(decision, candidate)
        grid.add_row(*_row(decision, candidate, part), style=STYLES.get(part, ""))
    return grid


def _row(decision: Decision, candidate: Candidate, part: str) -> list[Text]:
    cost, today, test = candidate.cost, decision.baseline.cost, facts.tightest(candidate)
    mark = " (predicted)" if cost is not None and cost.predicted else ""
    saved = percent(1 - cost.usd_per_million / today.usd_per_million) if cost and today and part != "baseline" else ""
    return [
        Text(part),
        Text(facts.name(candidate.deployment)),
        Text(usd(cost.usd_per_million) + mark if cost else "–"),
        Text(saved + mark if saved else "–"),
        Text(_time(facts.estimate(candidate, "latency_p50_s"))),
        Text(_time(facts.estimate(candidate, "latency_p99_s"))),
        Text(f"{plain(test.upper_bound)} of {plain(test.max_drop)}" if test else "–"),
        Text(test.verdict, style=STYLES[test.verdict]) if test else Text("–"),
    ]


def _time(found: Estimate | None) -> str:
    return f"{milliseconds(found.value)}{' (predicted)' if found.predicted else ''}" if found else "–"


def _remarks(decision: Decision, directory: Path | None) -> list[str]:
    stages = ", ".join(f"{number} at {stage}" for stage, number in facts.rejected_by_stage(decision))
    lines = ["", summary(decision), f"Turned down: {len(decision.rejected)}{f' ({stages})' if stages else ''}."]
    if decision.verdict != "saves":
        lines += [f"Nearest: {facts.name(c.deployment)}; {facts.why_not(decision, c)}." for c in facts.nearest(decision)]
    if directory is not None:
        lines += [f"Report:   {directory / 'report.html'}", f"Figures:  {directory / 'decision.json'}"]
    if decision.artifact is not None:
        artifact = (directory or Path()) / decision.artifact
        lines += [f"Artifact: {artifact}", f"Next:     farthing verify {artifact}"]
    return lines
