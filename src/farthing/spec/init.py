"""A few questions, answered, make a commented job file."""

import json
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from farthing import plugins
from farthing.data_sources.base import DataSource
from farthing.errors import JobError, StoreError
from farthing.metrics import metric_of
from farthing.model_sources.base import ModelSource
from farthing.spec.check import check
from farthing.spec.live import LIVE
from farthing.spec.schema import expected, near
from farthing.types import Budget, Floor, Traffic

Ask = Callable[..., str]  # (question, default=...) -> answer; as typer.prompt is


def write_job(path: Path, *, ask: Ask, confirm: Callable[[str], bool]) -> None:
    """Write a job file from the answers of `ask`; its tables are checked before anything is written.

    Raises JobError if the answers do not make a job or `path` is to be kept, StoreError if it cannot be written.
    """
    if path.exists() and not confirm(f"{path} exists. Overwrite it?"):
        raise JobError(f"{path} exists and was kept. Name another file: farthing init OTHER.toml")
    text = "\n".join(_lines(ask)) + "\n"
    check(tomllib.loads(text), path.resolve().parent, path.name)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}") from error


def _lines(ask: Ask) -> Iterator[str]:
    yield "# A job of farthing: what to make cheaper, and what must stay as it is. Every key stands in docs/job.md."
    yield from ("", "[model]  # what you run today")
    yield from _source(ModelSource, "Where does your model come from?", ask)
    yield from ("", "[data]  # a sample of what it is asked; it is split into calibrate, search and verify")
    yield from _source(DataSource, "What kind of data do you have?", ask)
    columns = [name.strip() for name in ask("Which column does the model read? (several: a, b)", default="text").split(",")]
    yield f"input = {json.dumps(columns if len(columns) > 1 else columns[0])}"
    yield from _floor(ask)
    yield from _traffic(ask)
    yield from ("", "[prices]  # the machine you are on now; or name its sku in a price table")
    yield f"usd_per_hour = {_number(ask('What does this machine cost, in USD per hour?'))}"
    yield from ("", "[budget]  # the search may take so long; its cost counts in the break-even")
    yield f"minutes = {_number(ask('How many minutes may the search take?', default=f'{Budget().minutes:g}'))}"


def _source(kind: type[Any], question: str, ask: Ask) -> Iterator[str]:
    """The member, and every knob of it that has no default."""
    name = _choose(ask, question, [name for name in plugins.names(kind) if name != LIVE])
    cls = plugins.load(kind, name)
    yield f"source = {json.dumps(name)}"
    for one in fields(cls):
        if one.default is MISSING and one.default_factory is MISSING:
            yield f"{one.name} = {json.dumps(ask(f'{name}: {one.name} ({expected(cls, one.name)})'))}"


def _floor(ask: Ask) -> Iterator[str]:
    metric = ask("Which quality must it keep? (a metric, name@k, or package.module:function)", default="cosine")
    if metric_of(metric).needs_labels:
        yield f"label = {json.dumps(ask('Which column holds the labels?', default='label'))}"
    yield from ("", f"[floor]  # proven on data that the search never saw, at {Floor(metric=metric).confidence:.0%} confidence")
    yield f"metric = {json.dumps(metric)}"
    yield f"max_drop = {_number(ask(f'By how much may {metric} fall at most?', default='0.005'))}"


def _traffic(ask: Ask) -> Iterator[str]:
    scenario = _choose(ask, "How is it used?", get_args(get_type_hints(Traffic)["scenario"]))
    yield from ("", "[traffic]", f"scenario = {json.dumps(scenario)}")
    if scenario == "server":
        yield f"rate_per_s = {_number(ask('How many requests per second?', default='10'))}"
    if scenario == "offline":
        yield f"num_items = {_number(ask('How many items are in one run?', default='1000000'), int)}"
        yield f"deadline_s = {_number(ask('By how many seconds must it be done?', default='3600'))}"
        return
    if ceiling := ask("How many seconds may 99% of the answers take at most? (empty: no limit)", default=""):
        yield from ("", "[slo]", f"latency_p99_s = {_number(ceiling)}")


def _choose(ask: Ask, question: str, choices: Sequence[str]) -> str:
    """One of `choices`, asked for until it is."""
    hint = ""
    while (answer := ask(f"{hint}{question} ({', '.join(choices)})")) not in choices:
        hint = f"{answer!r} is none of them.{near(answer, choices)} "
    return answer


def _number(answer: str, kind: type[int] | type[float] = float) -> str:
    """As TOML writes it. Raises JobError for what is no number."""
    try:
        return repr(kind(answer))
    except ValueError as error:
        raise JobError(f"{answer!r} is not a{' whole' if kind is int else ''} number") from error
