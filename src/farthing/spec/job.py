"""READ FIRST in this folder: a job file -> tables that are checked at once -> columns -> splits -> Job."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from farthing import plugins
from farthing.data_sources.base import DataSource
from farthing.errors import JobError
from farthing.spec.check import check
from farthing.spec.digest import digest
from farthing.spec.rows import rows_of
from farthing.spec.splits import split
from farthing.spec.tables import Draft
from farthing.types import Column, Job, MemberRef


def read(source: Path | str | Mapping[str, Any], *, minutes: float | None = None) -> Job:
    """The job in a TOML file, or in a mapping of the same form; relative paths start at the file, or where we are.

    `minutes` takes the place of the budget's.
    Raises JobError with all mistakes in the tables, then DataError for what the data cannot carry.
    """
    table, root, title = _loaded(source)
    if minutes is not None and isinstance(budget := table.get("budget", {}), Mapping):
        table = {**table, "budget": {**budget, "minutes": minutes}}
    return job_of(check(table, root, title))


def job_of(draft: Draft, columns: Mapping[str, Column] | None = None) -> Job:
    """The job with its data; `columns` are those of [data] where a call brought them live."""
    if columns is None:
        columns = _columns(draft.data_source)
    verify = None if draft.verify_source is None else _columns(draft.verify_source)
    pool, held_out = rows_of(columns, verify, draft.data, draft.slices)
    splits, notes = split(pool, held_out, draft.data, seed=draft.top.seed)
    job = Job(
        name=draft.name,
        model=draft.model,
        splits=splits,
        floors=draft.floors,
        traffic=draft.traffic,
        slo=draft.slo,
        prices=draft.prices,
        budget=draft.budget,
        seed=draft.top.seed,
        digest="",
        trust=draft.top.trust,
        methods=draft.search.methods,
        runtimes=draft.search.runtimes,
        carry_sample=draft.top.carry_sample,
        notes=notes,
    )
    return replace(job, digest=digest(job))


def _columns(source: MemberRef | None) -> dict[str, Column]:
    assert source is not None, "check() lets only live columns do without a source"
    return plugins.make(DataSource, source).read()  # type: ignore[type-abstract]


def _loaded(source: Path | str | Mapping[str, Any]) -> tuple[Mapping[str, Any], Path, str]:
    """The table, the folder that its relative paths start from, and what to call it in messages."""
    if isinstance(source, Mapping):
        return source, Path.cwd(), "job"
    path = Path(source)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise JobError(f"{path} does not exist. Write one with: farthing init {path.name}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise JobError(f"{path} cannot be read as TOML: {error}") from error
    return table, path.resolve().parent, path.name
