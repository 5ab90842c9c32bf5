"""optimize() from Python, with live objects: what `farthing optimize JOB.toml` does, in one call."""

from pathlib import Path
from typing import Any

from farthing import flow, spec
from farthing.results import Decision
from farthing.types import Progress


def optimize(
    *, out: Path | str, job: Path | str | None = None, resume: bool = False, progress: Progress = flow.silent, **live: Any
) -> Decision:
    """The Decision for a job file, or for live objects: `model`, `data`, `floor`, `traffic`, `prices` and whatever else
    `farthing.spec.read_live` takes. They are snapshotted under `out` on entry and never changed.

    Raises JobError and DataError for what was asked, StoreError for `out`, ModelError if the original does not run.
    """
    out = Path(out)
    asked = spec.read(job) if job is not None else spec.read_live(directory=out.with_name(f"{out.name}-inputs"), **live)
    return flow.optimize(asked, out=out, resume=resume, progress=progress)
