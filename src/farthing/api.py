"""optimize() and adapt() from Python, with live objects: what `farthing optimize JOB.toml` does, in one call."""

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from farthing import adaptation, flow, spec
from farthing.adaptation import Adaptation, Task
from farthing.errors import JobError
from farthing.model_sources.base import snapshot_object
from farthing.results import Decision
from farthing.types import Dataset, Progress


def optimize(
    *,
    out: Path | str | None = None,
    job: Path | str | None = None,
    resume: bool = False,
    progress: Progress = flow.silent,
    **live: Any,
) -> Decision:
    """The Decision for a job file, or for live objects: `model`, `data`, `floor`, `traffic`, `prices` and whatever else
    `farthing.spec.read_live` takes. They are snapshotted beside `out` (default: runs/NAME) on entry, and never changed.

    Raises JobError and DataError for what was asked, StoreError for `out`, ModelError if the original does not run.
    """
    if job is not None:
        if live:
            raise JobError(f"{', '.join(live)}: without effect beside job. Write it into the job file, or leave job out")
        asked = spec.read(job)
        return flow.optimize(asked, out=Path(out or Path("runs") / asked.name), resume=resume, progress=progress)
    parameters = signature(spec.read_live).parameters
    needed = [name for name, one in parameters.items() if one.default is one.empty and name not in ("directory", "top")]
    if missing := [name for name in needed if name not in live]:
        raise JobError(f"optimize() lacks {', '.join(missing)}; it needs {', '.join(needed)}, or job, the path of a job file")
    folder = Path(out or Path("runs") / live.get("name", parameters["name"].default))
    asked = spec.read_live(directory=folder.with_name(f"{folder.name}-inputs"), **live)
    return flow.optimize(asked, out=folder, resume=resume, progress=progress)


def adapt(model: Any, tasks: Mapping[str, tuple[Any, ...]], *, checkpoints: Path | str | None = None, **settings: Any) -> Any:
    """A new nn.Module: `model` when it has learned `tasks`, {name: (data, labels)}, which share its backbone.

    `model` is (module, example) or (module, example, tokenizer, max_length), as for `optimize`, and is not changed. data: a
    list of texts, an array, or a tuple with one of them for each input. Labels that are whole numbers are classes, others a
    number to be learned; each task gets a new head, with an output for each class, or as many as a third value says.
    `settings` are the fields of `farthing.adaptation.Adaptation`.
    `checkpoints`, a folder of this call alone: a call that was killed goes on where it was.
    Raises BuildError and DataError naming what cannot be learned, JobError for a setting that there is not.
    """
    if unknown := sorted(settings.keys() - signature(Adaptation).parameters.keys()):
        raise JobError(f"adapt() has no setting {unknown[0]!r}; it has: {', '.join(signature(Adaptation).parameters)}")
    import torch

    from farthing.forms import torch_form

    with TemporaryDirectory() as scratch:
        folders = [Path(scratch) / name for name in ("source", "adapted")]
        folders[0].mkdir()
        wanted = [_task(name, *parts) for name, parts in tasks.items()]
        kept = None if checkpoints is None else Path(checkpoints)
        source = snapshot_object(model, folders[0])
        adapted = adaptation.adapt(
            source, folders[1], wanted, Adaptation(**settings), threads=torch.get_num_threads(), checkpoints=kept
        )
        return torch_form.load(adapted)


def _task(name: str, data: Any, labels: Any, num_outputs: int | None = None) -> Task:
    given = np.asarray(labels)
    are_classes = given.dtype.kind in "biu" and given.size > 0
    columns = tuple(data) if isinstance(data, tuple) else (data,)
    width = num_outputs or (int(given.max()) + 1 if are_classes else 1)
    return Task(name=name, data=Dataset(columns=columns, labels=given), num_outputs=width)
