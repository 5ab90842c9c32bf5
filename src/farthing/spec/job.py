"""READ FIRST in this folder: a job file -> tables that are checked at once -> columns -> splits -> Job."""

import hashlib
import importlib.util
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from farthing import plugins
from farthing.data_sources.base import DataSource
from farthing.errors import JobError
from farthing.spec.check import check, check_floors
from farthing.spec.rows import rows_of
from farthing.spec.schema import Draft
from farthing.spec.splits import split
from farthing.types import Column, Floor, Job, MemberRef

NOT_ASKED = ("name", "names", "digest", "notes", "budget")  # nor is how long to look for an answer a part of the question


def read(source: Path | str | Mapping[str, Any], *, minutes: float | None = None) -> Job:
    """The job in a TOML file, or in a mapping of the same form; relative paths start at the file, or where we are.

    `minutes` takes the place of the budget's.
    Raises JobError with all mistakes in the tables, then DataError for what the data cannot carry.
    """
    table, root, title = _loaded(source)
    if minutes is not None and isinstance(budget := table.get("budget", {}), Mapping):
        table = {**table, "budget": {**budget, "minutes": minutes}}
    return job_of(check(table, root, title))


def read_floors(source: Path | str | Mapping[str, Any]) -> tuple[Floor, ...]:
    """The floors of a job whose model and data need not be there. Raises JobError."""
    return check_floors(*_loaded(source))


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
        limits=draft.limits,
        prices=draft.prices,
        budget=draft.budget,
        seed=draft.top.seed,
        digest="",
        trust=draft.top.trust,
        methods=draft.search.methods,
        runtimes=draft.search.runtimes,
        device=draft.top.device,
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
    if path.is_dir():
        inside = ", ".join(sorted(file.name for file in path.glob("*.toml")))
        raise JobError(
            f"{path} is a folder: name a job file{f' in it: {inside}' if inside else ', or write one with farthing init'}"
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise JobError(f"{path} does not exist. Write one with: farthing init {path.name}") from error
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise JobError(f"{path} is not TOML: {error}. docs/job.md shows a job file") from error
    return table, path.resolve().parent, path.name


def digest(job: Job) -> str:
    """sha256 of the canonical JSON of all that is asked; a path counts as what it holds, an array as its bytes.

    Of a "package.module:function" beside the job file the module's own text counts, what it imports does not.
    """
    asked = {f.name: _canonical(getattr(job, f.name)) for f in fields(job) if f.name not in NOT_ASKED}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def contents(path: Path) -> str:
    """sha256 of a file, or of the names and files of a folder."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    inside = {str(p.relative_to(path)): contents(p) for p in sorted(path.rglob("*")) if p.is_file()}
    return hashlib.sha256(json.dumps(inside).encode()).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, MemberRef):
        return [value.name, {key: _canonical(_behind(key, dict(value.knobs))) for key, _ in value.knobs if key != "root"}]
    if is_dataclass(value):
        return {f.name: _canonical(getattr(value, f.name)) for f in fields(value) if f.name not in NOT_ASKED}
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, hashlib.sha256(_bytes(value)).hexdigest()]
    if isinstance(value, Mapping):
        return {str(key): _canonical(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(one) for one in value]
    if isinstance(value, Path):
        return contents(value)
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _behind(key: str, knobs: Mapping[str, Any]) -> Any:
    """What a knob leads to, where it names a folder or a module; else its value."""
    value = knobs[key]
    if key == "path" and isinstance(value, str):
        folder = _package(knobs.get("package")) / value
        return folder if folder.exists() else value
    if key == "factory" and knobs.get("root") is not None:
        module = Path(knobs["root"], *value.partition(":")[0].split("."))
        return [value, *(file for file in (module.with_suffix(".py"), module / "__init__.py") if file.is_file())]
    return value


def _package(name: str | None) -> Path:
    """The folder of an installed package; where there is none, paths are taken as they stand."""
    spec = importlib.util.find_spec(name) if name is not None else None
    return Path(spec.submodule_search_locations[0]) if spec is not None and spec.submodule_search_locations else Path()


def _bytes(array: np.ndarray[Any, Any]) -> bytes:
    return json.dumps(array.tolist(), default=str).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
