"""optimize() from Python, with live objects: what `farthing optimize JOB.toml` does, in one call."""

from inspect import signature
from pathlib import Path
from typing import Any

from farthing import flow, spec
from farthing.errors import JobError
from farthing.results import Decision
from farthing.types import Progress


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
