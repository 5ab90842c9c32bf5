"""The terminal: a live view while the search runs, and the table at its end."""

import sys
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from farthing import facts
from farthing.results import Candidate, Certificate, Decision
from farthing.types import Learning
from farthing.wording import (
    MORE_MINUTES,
    asked,
    labels,
    milliseconds,
    name,
    percent,
    reached,
    seconds,
    settings,
    subject,
    usd,
)

STYLES = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "choice": "bold", "baseline": "dim"}
DOING = {  # stages in words; one that is not here is shown by its name
    "diagnose": "finding where the money goes",
    "search": "trying builds, the best predicted first",
    "certify": "proving the quality of the finalists on items never seen",
    "drive": "driving the finalists with real load",
    "confirm": "timing the winner again, without each of its steps in turn",
}
TIMED_STAGE = "search"  # the one that the budget limits
MAX_RECENT = 5
BAR_WIDTH = 20
PLAIN_WIDTH = 140


class LiveView:
    """Draws the events of a search: a panel that is renewed on a terminal, one flushed line an event elsewhere.

    Events and their facts, of which any may be missing: stage {name}; trial {label, usd_per_million or rejected, seconds};
    best {label, usd_per_million}; budget {left_s}; learning {learning}; note {text}; done {what: path}. Any event may carry
    left_s.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(file=stream or sys.stdout, highlight=False)
        self._clock = clock
        self._start_s = clock()
        self._stage = "start"
        self._best = ("nothing yet", "")
        self._num_done = self._num_rejected = 0
        self._deadline_s: float | None = None
        self._recent: list[str] = []
        self._learning = ""
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
        if name == "learning":
            self._learn(told["learning"])
            return
        self._learning = ""
        lines = {"stage": self._stage_line, "trial": self._trial_line, "best": self._best_line, "done": self._done_line}
        line = " ".join(lines.get(name, self._other_line)(told).split())  # a reason may have many lines
        if name not in ("stage", "best"):  # the panel shows these above
            self._recent = [*self._recent[1 - MAX_RECENT :], line]
        if self._live is None:
            print(f"[{self._clock() - self._start_s:7.1f} s] {line}", file=self._console.file, flush=True)

    def _learn(self, learning: Learning) -> None:
        """A bar in the panel; elsewhere a line for each epoch."""
        full = round(learning.share * BAR_WIDTH)
        self._learning = f"{'█' * full}{'░' * (BAR_WIDTH - full)} {percent(learning.share)}, {learning}"
        if self._live is None and learning.loss is not None:
            print(f"[{self._clock() - self._start_s:7.1f} s] learning: {learning}", file=self._console.file, flush=True)

    def _stage_line(self, told: Mapping[str, Any]) -> str:
        self._stage = str(told["name"])
        doing = DOING.get(self._stage)
        return f"stage: {self._stage}" + (f", {doing}" if doing else "")

    def _trial_line(self, told: Mapping[str, Any]) -> str:
        self._num_done += 1
        took = f" ({seconds(told['seconds'])})" if "seconds" in told else ""
        if "rejected" in told:
            self._num_rejected += 1
            return f"rejected {told['label']}{took}: {told['rejected']}"
        return f"measured {told['label']}{took}: {usd(told['usd_per_million'])} per million requests"

    def _best_line(self, told: Mapping[str, Any]) -> str:
        self._best = f"{usd(told['usd_per_million'])} per million requests", str(told["label"])
        return f"best so far: {self._best[0]}, {self._best[1]}"

    def _done_line(self, told: Mapping[str, Any]) -> str:
        self._stage = "done"
        return "done: " + ", ".join(f"{what} {path}" for what, path in told.items() if path not in (None, "none"))

    def _other_line(self, told: Mapping[str, Any]) -> str:
        return " ".join(str(fact) for fact in told.values())

    def _panel(self) -> Table:
        """One line a fact: what does not fit is cut, for the plain lines, the journal and the report have it whole."""
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        doing = DOING.get(self._stage)
        rows = [
            ("stage", f"{self._stage}: {doing}" if doing else self._stage),
            ("best so far", self._best[0]),
            ("", self._best[1]),
            ("trials", f"{self._num_done} done, {self._num_rejected} of them rejected"),
            ("learning" if self._learning else "", self._learning),
            ("time", f"{seconds(self._clock() - self._start_s)} gone{self._time_left()}"),
            *(("lately" if i == 0 else "", line) for i, line in enumerate(self._recent)),
        ]
        for key, value in rows:
            if key or value:
                grid.add_row(Text(key, style="dim"), Text(value))  # Text: a name such as [1x2 threads] is not rich's markup
        return grid

    def _time_left(self) -> str:
        if self._deadline_s is None or self._stage != TIMED_STAGE:
            return ""
        left_s = self._deadline_s - self._clock()
        return f", {seconds(left_s)} left for the search" if left_s >= 1 else ", the search ends with this trial"


def table(decision: Decision, directory: Path | None = None, *, today: date | None = None) -> str:
    """The answer, the finalists beside the baseline, what was turned down, where the files are, and what to run next."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    remarks = _remarks(decision, directory, today or date.today())
    with console.capture() as captured:
        console.print(Group(Text(""), Text(summary(decision)), _comparison(decision), *(Text(line) for line in remarks)))
    return "\n".join(line.rstrip() for line in captured.get().strip("\n").splitlines())


def summary(decision: Decision) -> str:
    """What to do and why, in plain sentences; each floor and slice on a line of its own, worst first."""
    share, chosen = facts.saved(decision), decision.chosen
    if decision.verdict != "saves" or chosen is None or share is None:
        return "\n".join((decision.summary, *(f"To relax: {demand}." for demand in decision.relax)))
    between = f" ({percent(share.low)} to {percent(share.high)})" if share.low is not None and share.high is not None else ""
    lines = [f"{decision.job_name}: run {name(chosen.deployment)}. It costs {percent(share.value)}{between} less than today."]
    if decision.baseline.cost and chosen.cost:
        before, after = decision.baseline.cost, chosen.cost
        mark = " (predicted)" if after.predicted else ""
        lines.append(
            f"{usd(before.usd_per_month)} becomes {usd(after.usd_per_month)} a month{mark}; "
            f"{usd(before.usd_per_million)} becomes {usd(after.usd_per_million)} per million requests{mark}."
        )
    return "\n".join([*lines, *(_proof(decision, test) for test in facts.worst_first(chosen.certificates))])


def _proof(decision: Decision, test: Certificate) -> str:
    sure = f"{100 * (1 - test.alpha):.4g}% confidence on {test.num_items:,} unseen items"
    return f"{test.verdict}: {subject(test, decision.floors)} {reached(test)}, {asked(test)}; {sure}."


def _comparison(decision: Decision) -> Table:
    """Measured figures only; a column of predicted ones stands apart, where there are any."""
    grid = Table(header_style="bold", box=box.SIMPLE, pad_edge=False)
    finalists = facts.finalists(decision)
    names = labels([candidate.deployment for candidate in finalists], with_settings=False)
    rows = [_row(decision, candidate, label) for candidate, label in zip(finalists, names, strict=True)]
    heads = ("", "deployment", "USD per million", "predicted USD", "saved", "p50", "p99", "predicted p99", "quality")
    kept = [i for i, head in enumerate(heads) if not head.startswith("predicted") or any(row[i].plain != "–" for row in rows)]
    for i in kept:
        numeric = heads[i] not in ("", "deployment", "quality")
        grid.add_column(heads[i], justify="right" if numeric else "left", no_wrap=heads[i] != "deployment")
    for candidate, row in zip(finalists, rows, strict=True):
        grid.add_row(*(row[i] for i in kept), style=STYLES.get(facts.role(decision, candidate), ""))
    return grid


def _row(decision: Decision, candidate: Candidate, label: str) -> list[Text]:
    part = facts.role(decision, candidate)
    cost, today, test = candidate.cost, decision.baseline.cost, facts.tightest(candidate)
    share = percent(1 - cost.usd_per_million / today.usd_per_million) if cost and today and part != "baseline" else "–"
    price = usd(cost.usd_per_million) if cost else "–"
    is_guess = cost is not None and cost.predicted
    p50, p99 = facts.estimate(candidate, "latency_p50_s"), facts.estimate(candidate, "latency_p99_s")
    return [
        Text(part),
        Text(f"{label}\n{settings(candidate.deployment)}"),
        Text("–" if is_guess else price),
        Text(price if is_guess else "–"),
        Text(share),
        Text(milliseconds(p50.value) if p50 and not p50.predicted else "–"),
        Text(milliseconds(p99.value) if p99 and not p99.predicted else "–"),
        Text(milliseconds(p99.value) if p99 and p99.predicted else "–"),
        Text(test.verdict, style=STYLES[test.verdict]) if test else Text("–"),
    ]


def _remarks(decision: Decision, directory: Path | None, today: date) -> list[str]:
    stages = ", ".join(f"{number} at {stage}" for stage, number in facts.rejected_by_stage(decision))
    lines = [f"Turned down or not tried: {len(decision.rejected)}{f' ({stages})' if stages else ''}."]
    lines += [f"{note[0].upper()}{note[1:]}." for note in decision.notes if MORE_MINUTES in note]
    if broken := facts.missed(decision, decision.baseline):
        lines.append(f"Today's deployment misses what is asked of it: {broken}.")
    if old := facts.old_prices(decision, today):
        lines.append(old)
    if decision.verdict != "saves":
        lines += [f"Nearest: {name(c.deployment)}; {facts.why_not(decision, c)}." for c in facts.nearest(decision)]
    if directory is not None:
        lines += ["", f"Report:   {directory / 'report.html'}", f"Figures:  {directory / 'decision.json'}"]
    if decision.artifact is not None:
        artifact = (directory or Path()) / decision.artifact
        lines += [f"Artifact: {artifact}", f"Next:     farthing verify {artifact}"]
    return lines
