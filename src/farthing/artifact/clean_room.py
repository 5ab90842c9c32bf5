"""A fresh process that opens a model where torch cannot be imported, answers, and times one batch."""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import ModuleType

import numpy as np

from farthing import codec, plugins
from farthing import pipeline as pipelines
from farthing.errors import ArtifactError, FarthingError
from farthing.results import Measurement
from farthing.runtimes.base import Runtime, Session
from farthing.types import Array, Dataset, Deployment, Feeds, Pipeline

ROUNDS = 15
LONGEST_TIMING_S = 3.0
LONGEST_S = 900.0
DEFAULT_LENGTH = 32  # tokens, where no item says how long texts are
KEPT_OUT = "torch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the clean process saw. It imported torch only if it was allowed to: then `torch_was_loaded` may be true."""

    predictions: Array | None  # of the items, if there were any
    speed: Measurement
    versions: dict[str, str]
    machine: str
    torch_was_loaded: bool


def examine(pipeline: Pipeline, deployment: Deployment, items: Dataset | None, *, allow_torch: bool) -> Examination:
    """Raises ArtifactError with what went wrong over there."""
    question = {"pipeline": pipeline, "deployment": deployment, "items": items, "allow_torch": allow_torch}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"  # not its stdout: libraries print there
        reason = _reason_to_fail(answer, json.dumps(codec.to_json(question)))
        if reason is not None:
            where = "in a clean process" if allow_torch else f"in a clean process without {KEPT_OUT}"
            raise ArtifactError(f"the model in {pipeline.directory} does not run {where}: {reason}")
        return Examination(**codec.from_json(json.loads(answer.read_text())))


def _reason_to_fail(answer: Path, question: str) -> str | None:
    """Run `main` in a fresh interpreter without the current folder in its path; None: it answered."""
    command = [sys.executable, "-P", "-c", f"import {__name__} as clean_room; clean_room.main()", str(answer)]
    try:
        done = subprocess.run(command, input=question, capture_output=True, text=True, timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {LONGEST_S:g} s"
    if done.returncode == 0:
        return None
    return done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"


def this_machine() -> str:
    """The model of its processor and the number of its cores: speeds are only compared between equal ones."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


class _KeptOut(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] == KEPT_OUT:
            raise ModuleNotFoundError(f"{name} is kept out: this artifact must run without it", name=name)
        return None


def main() -> None:
    """The clean process itself: the question on stdin, the answer to the file that its argument names."""
    try:
        _answer(Path(sys.argv[1]))
    except FarthingError as error:
        sys.exit(str(error))  # the reason alone, on stderr, and exit code 1


def _answer(answer: Path) -> None:
    question = codec.from_json(json.load(sys.stdin))
    if not question["allow_torch"]:
        assert KEPT_OUT not in sys.modules, f"{KEPT_OUT} is loaded by this Python before anything asks for it"
        sys.meta_path.insert(0, _KeptOut())
    pipeline, deployment, items = question["pipeline"], question["deployment"], question["items"]
    runtime = plugins.make(Runtime, deployment.build.runtime)  # type: ignore[type-abstract]
    session = runtime.open(
        pipeline, threads=deployment.threads, streams=deployment.streams, device_kind=deployment.build.device_kind
    )
    examination = Examination(
        predictions=None if items is None else _predictions(session, pipeline, items, deployment.batch_size),
        speed=_timed(session, pipeline, items, deployment.batch_size),
        versions=_loaded_versions(),
        machine=this_machine(),
        torch_was_loaded=KEPT_OUT in sys.modules,
    )
    session.close()
    answer.write_text(
        json.dumps({field.name: codec.to_json(getattr(examination, field.name)) for field in fields(Examination)})
    )


def _predictions(session: Session, pipeline: Pipeline, items: Dataset, batch_size: int) -> Array:
    batches = pipelines.feeds_of(pipeline, items.requests, batch_size)
    answers = np.concatenate([session.run(feeds)[0] for feeds in batches])
    if not np.isfinite(answers).all():
        raise ArtifactError("its answers hold NaN or infinity")
    return items.predictions(answers)


def _timed(session: Session, pipeline: Pipeline, items: Dataset | None, batch_size: int) -> Measurement:
    feeds = (
        pipelines.synthetic(pipeline, batch_size, DEFAULT_LENGTH) if items is None else _typical(pipeline, items, batch_size)
    )
    shape = "x".join(map(str, next(iter(feeds.values())).shape))
    session.run(feeds)
    seconds: list[float] = []
    while len(seconds) < ROUNDS and sum(seconds) < LONGEST_TIMING_S:
        started = time.perf_counter()
        session.run(feeds)
        seconds.append(time.perf_counter() - started)
    return Measurement(
        name="batch_s",
        value=float(np.median(seconds)),
        unit="s",
        low=min(seconds),
        high=max(seconds),
        num_samples=len(seconds),
        protocol=f"median and range of one batch ({shape}), one at a time, in a clean process",
        environment=this_machine(),
    )


def _typical(pipeline: Pipeline, items: Dataset, batch_size: int) -> Feeds:
    """A batch of the items whose lengths are nearest to the median, each as often as it takes to fill it."""
    encoded = pipelines.encode(pipeline, items.requests)
    lengths = np.array([pipelines.length(e, pipeline) for e in encoded])
    nearest = np.argsort(np.abs(lengths - np.median(lengths)), kind="stable")[:batch_size]
    return pipelines.collate(pipeline, [encoded[i] for i in np.resize(nearest, batch_size)])


def _loaded_versions() -> dict[str, str]:
    loaded = {name.partition(".")[0] for name in sys.modules}
    owners = {owner for name, names in packages_distributions().items() if name in loaded for owner in names}
    return {"python": platform.python_version()} | {name: version(name) for name in sorted(owners)}


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
