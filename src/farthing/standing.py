"""What a finished run stands at after its updates, and new rows read as its job reads its own."""

import fcntl
import json
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from farthing import artifact, codec, plugins, spec
from farthing import pipeline as pipelines
from farthing.adaptation.memory import Memory
from farthing.adaptation.replay import joined
from farthing.artifact import Manifest
from farthing.data_sources.base import DataSource
from farthing.errors import ArtifactError, DataError, JobError, StoreError
from farthing.metrics import metric_of
from farthing.spec.check import check
from farthing.spec.rows import Rows, rows_of
from farthing.spec.schema import Draft
from farthing.spec.splits import split
from farthing.types import Dataset, Job, Pipeline

FEWEST_ROWS = 50  # of new data
SHARES = {"train": 0.6, "calibrate": 0.1, "search": 0.3}  # of the new rows: learned from, for ranges, judged on
KINDS = {".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet", ".arrow": "parquet"}
NOTE = "job.path"  # in a run's folder: the job file that `farthing optimize` was given
UPDATES = "updates"
MODEL = ("adapted", "model")  # where an update's store keeps the model in full precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    run: Path
    manifest: Manifest  # of what is deployed now
    deployed: Path  # its artifact
    original: Pipeline
    model: Pipeline  # in full precision: what goes on learning
    memory: Memory | None  # None before the first accepted update

    @property
    def sensitivities(self) -> tuple[tuple[str, float], ...]:
        """Of the layers, as the run measured them: paths are still the same."""
        profile = json.loads((self.run / "decision.json").read_text(encoding="utf-8"))["profile"] or {}
        return tuple((one["layer"], one["relative_error"]) for one in profile.get("sensitivities", ()))


def standing(run: Path) -> Standing:
    """After the last accepted update. Raises StoreError or ArtifactError naming what is missing."""
    if not (run / "journal.jsonl").is_file():
        raise StoreError(f"{run} is no run: name a folder that `farthing optimize` has finished")
    if not (run / "artifact").is_dir():
        raise ArtifactError(f"{run} has packed no artifact, so there is nothing to update. Finish it with --resume, or see why")
    first = artifact.load(run / "artifact", trust=True)  # the person's own run
    folder = run / "folders" / "original-model"
    if not folder.is_dir() or codec.digest_tree(folder) != first.manifest.original_digest:
        raise StoreError(f"{folder}, the model as it came, is missing or was changed. Restore it from a copy")
    original = pipelines.read(folder)
    accepted = [path for path in sorted((run / UPDATES).glob("[0-9][0-9][0-9]")) if (path / "artifact").is_dir()]
    if not accepted:
        return Standing(
            run=run, manifest=first.manifest, deployed=first.directory, original=original, model=original, memory=None
        )
    last = accepted[-1]
    return Standing(
        run=run,
        manifest=artifact.load(last / "artifact", trust=True).manifest,
        deployed=last / "artifact",
        original=original,
        model=pipelines.read(last / "folders" / "-".join(MODEL)),
        memory=Memory.read(last),
    )


def noted(run: Path) -> Path:
    if not (run / NOTE).is_file():
        raise JobError(f"{run} does not say which job file it answers; name it: --job JOB.toml")
    return Path((run / NOTE).read_text(encoding="utf-8"))


def asked(path: Path, manifest: Manifest) -> tuple[Job, Draft]:
    """The job of the run, which still has to be the same question: its data is the old data. Raises JobError, DataError."""
    job = spec.read(path)
    if job.digest != manifest.job_digest:
        raise JobError(
            f"{path} is not the job of this run, or was changed since: its digest is {job.digest[:12]}, the run's is"
            f" {manifest.job_digest[:12]}. Name the job, and its data, as they were: --job"
        )
    draft = check(tomllib.loads(path.read_text(encoding="utf-8")), path.resolve().parent, path.name)
    if draft.data.label is None or not any(metric_of(floor.metric).needs_labels for floor in job.floors):
        raise JobError(f"{path}: an update learns from labels and is judged by them; this job has no floor that reads any")
    return job, draft


# ---------------------------------------------------------------- new data


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    learned: Dataset
    calibrate: Dataset
    judged: Dataset
    notes: tuple[str, ...]


def fresh(path: Path, draft: Draft, job: Job, standing: Standing) -> Fresh:
    """The new rows, read as the job reads its own and divided by their content; what is known already is left out."""
    columns = _columns(path, draft)
    table = replace(draft.data, split=None, splits=SHARES, limit=None, verify=None, classes=_classes(draft))
    try:
        rows, _ = rows_of(columns, None, table, draft.slices)
        if len(rows.dataset) < FEWEST_ROWS:
            raise DataError(f"there are {len(rows.dataset)} rows, and an update takes at least {FEWEST_ROWS}: bring more")
        spec.check_fit(rows.dataset, standing.model)
        _check_classes(rows.dataset, standing.model)
        parts, notes = split(rows, Rows(dataset=_known(job, standing.memory)), table, seed=job.seed)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return Fresh(learned=parts.train, calibrate=parts.calibrate, judged=parts.search, notes=notes)


def _known(job: Job, memory: Memory | None) -> Dataset:
    """What is guarded, and what was or will be learned: nothing of it can say how new data is answered."""
    if memory is None:
        return joined(job.splits.verify, job.splits.train)
    return joined(joined(memory.guarded, memory.replay.kept), job.splits.train)


def _columns(path: Path, draft: Draft) -> Any:
    kind = KINDS.get(path.suffix)
    if kind is None:
        raise DataError(f"{path}: new data is one of {', '.join(KINDS)}")
    source = draft.data_source
    like_the_old = dict(source.knobs) if source is not None and source.name == kind else {}
    return plugins.load(DataSource, kind)(**like_the_old | {"path": path}).read()  # type: ignore[type-abstract]


def _classes(draft: Draft) -> tuple[str | float, ...] | None:
    """The classes that the job's labels are numbered by: those it names, or all texts that occur in its own data."""
    if draft.data.classes is not None or draft.data.label is None:
        return draft.data.classes
    sources = [one for one in (draft.data_source, draft.verify_source) if one is not None]
    labels = [plugins.make(DataSource, one).read()[draft.data.label] for one in sources]  # type: ignore[type-abstract]
    if all(isinstance(column, np.ndarray) for column in labels):
        return None
    return tuple(sorted({str(value) for column in labels for value in column}))


def _check_classes(data: Dataset, model: Pipeline) -> None:
    width = model.outputs[0].shape[-1] if len(model.outputs[0].shape) == 2 else 1
    assert data.labels is not None, "the job has a label column"
    if isinstance(width, int) and width > 1 and not 0 <= data.labels.min() <= data.labels.max() < width:
        raise DataError(
            f"labels run from {data.labels.min():g} to {data.labels.max():g}, and the model answers {width} classes, 0 to"
            f" {width - 1}. New classes take a new head, and so a new job"
        )


@contextmanager
def alone(updates: Path) -> Iterator[None]:
    """Two updates at once would begin with the same model, and the second would forget the first."""
    updates.mkdir(exist_ok=True)
    lock = os.open(updates / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise StoreError(f"{updates} is in use by another update. Wait for it or end it") from error
    finally:
        os.close(lock)
