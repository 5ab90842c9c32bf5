"""Carry out a plan: convert, run the methods, keep what other builds can share, look at the outputs."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from farthing import codec, plugins
from farthing import pipeline as pipelines
from farthing.conversions.base import Conversion
from farthing.methods.base import Method
from farthing.runtimes.base import Runtime
from farthing.transform.check import Step, check
from farthing.transform.verify import verify
from farthing.types import Array, Build, Context, MemberRef, Pipeline, Tell

ANSWER_BATCH = 32


def apply(
    original: Pipeline, build: Build, directory: Path, context: Context, *, cache: Path | None = None, tell: Tell = print
) -> Pipeline:
    """Write the pipeline that `build`'s runtime is to open into `directory`. Runs in a worker process, one at a time a cache.

    Results of all but the last method stay in `cache`, named by what led to them, for builds that begin alike (and for a
    later call, if this one is killed). Raises RecipeError (see `check`), BuildError or DataError (see the members), and
    WrongOutput for NaN, infinity or another shape; it does not judge quality. `tell` hears how far a training has come.
    """
    plan = check(original.form, original.traits, build)
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="farthing-") as folder:
            result = _carry_out(plan, directory, _House(original, context, Path(folder), tell))
    else:
        cache.mkdir(parents=True, exist_ok=True)
        result = _carry_out(plan, directory, _House(original, context, cache, tell))
    verify(result, build, context)
    return result


def _carry_out(plan: Sequence[Step], directory: Path, house: "_House") -> Pipeline:
    current, context, cache = house.original, house.context, house.cache
    origin = (codec.digest_tree(current.directory), codec.digest(context))
    for number, step in enumerate(plan, 1):
        if number == len(plan) and step.kind == "method":
            place = cache / codec.digest((origin, tuple((s.kind, s.ref) for s in plan)))
            return _take(step, current, directory, replace(context, checkpoints=place.with_suffix(".learning"), house=house))
        prefix = tuple((s.kind, s.ref) for s in plan[:number])
        current = _shared(step, current, replace(context, house=house), cache / codec.digest((origin, prefix)))
    shutil.copytree(current.directory, directory, dirs_exist_ok=True)
    return pipelines.read(directory)


def _shared(step: Step, source: Pipeline, context: Context, place: Path) -> Pipeline:
    """The result of `step` in the folder `place`, which is there whole or not at all: it is renamed when complete."""
    if not place.exists():
        making = place.with_suffix(".part")
        shutil.rmtree(making, ignore_errors=True)  # whoever began it was killed
        learning = place.with_suffix(".learning")
        _take(step, source, making, replace(context, checkpoints=learning))
        making.rename(place)
        shutil.rmtree(learning, ignore_errors=True)
    return pipelines.read(place)


@dataclass(frozen=True, slots=True)
class _House:
    """What `Context.house` promises, with this call's original, context and cache."""

    original: Pipeline
    context: Context
    cache: Path
    tell: Tell

    def make(self, build: Build, directory: Path) -> Pipeline:
        return apply(self.original, build, directory, self.context, cache=self.cache, tell=self.tell)

    def answers(self, pipeline: Pipeline, runtime: MemberRef, requests: Sequence[tuple[Any, ...]]) -> Array:
        session = plugins.make(Runtime, runtime).open(pipeline, threads=self.context.threads, streams=1)  # type: ignore[type-abstract]
        encoded = pipelines.encode(pipeline, requests)
        order = sorted(range(len(encoded)), key=lambda i: pipelines.length(encoded[i], pipeline))
        parts = [order[i : i + ANSWER_BATCH] for i in range(0, len(order), ANSWER_BATCH)]
        answers = [np.array(session.run(pipelines.collate(pipeline, [encoded[i] for i in part]))[0]) for part in parts]
        session.close()
        return np.concatenate(answers)[np.argsort(order, kind="stable")]


def _take(step: Step, source: Pipeline, directory: Path, context: Context) -> Pipeline:
    if step.kind == "conversion":
        conversion = plugins.make(Conversion, step.ref)  # type: ignore[type-abstract]
        result = conversion.convert(source, directory, context)
    else:
        result = plugins.make(Method, step.ref).apply(source, directory, context)  # type: ignore[type-abstract]
    assert (result.form, result.traits) == (step.form, step.traits), f"{step.ref} broke its promise: {result}"
    return result
