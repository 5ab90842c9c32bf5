"""Runtime: two builds of one pipeline, each on its own runtime; the dear one answers what the cheap one is unsure of."""

from dataclasses import dataclass
from textwrap import indent
from typing import ClassVar

from farthing import pipeline as pipelines
from farthing import plugins
from farthing.forms import cascade_form
from farthing.results import Profile
from farthing.runtimes.base import Runtime, Session
from farthing.types import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade(Runtime):
    accepts: ClassVar[frozenset[str]] = frozenset({"cascade"})
    devices: ClassVar[frozenset[str]] = frozenset({"cpu", "cuda"})
    run_on: ClassVar[frozenset[str]] = frozenset({"cpu"})
    needs_torch: ClassVar[bool] = True  # unless neither part does

    def open(self, pipeline: Pipeline, *, threads: int, streams: int, device_kind: str = "cpu") -> Session:
        cheap, dear = (
            runtime.open(part, threads=threads, streams=streams, device_kind=device_kind) for runtime, part in _parts(pipeline)
        )
        return cascade_form.CascadeSession(cheap, dear, cascade_form.read(pipeline.path).threshold)

    def snippet(self, pipeline: Pipeline) -> str:
        cheap, dear = (indent(runtime.snippet(part), "    ") for runtime, part in _parts(pipeline))
        return f"""\
import contextlib, json, numpy, pathlib
threshold, whole = json.loads(pathlib.Path({cascade_form.FILE!r}).read_text())["threshold"], feeds
with contextlib.chdir({cascade_form.CHEAP!r}):
{cheap}answers = [numpy.array(values) for values in outputs]
best = numpy.sort(answers[0], axis=1)
unsure = best[:, -1] - best[:, -2] < threshold
if unsure.any():
    feeds = {{name: values[unsure] for name, values in whole.items()}}
    with contextlib.chdir({cascade_form.DEAR!r}):
{indent(dear, "    ")}    for answer, better in zip(answers, outputs):
        answer[unsure] = better
feeds, outputs = whole, answers
"""

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0

    def uses_torch(self, pipeline: Pipeline) -> bool:
        return any(runtime.uses_torch(part) for runtime, part in _parts(pipeline))


def _parts(pipeline: Pipeline) -> tuple[tuple[Runtime, Pipeline], tuple[Runtime, Pipeline]]:
    """(runtime, pipeline) of the cheap and of the dear model."""
    settings = cascade_form.read(pipeline.path)
    return (
        (plugins.make(Runtime, settings.cheap), pipelines.read(pipeline.directory / cascade_form.CHEAP)),  # type: ignore[type-abstract]
        (plugins.make(Runtime, settings.dear), pipelines.read(pipeline.directory / cascade_form.DEAR)),  # type: ignore[type-abstract]
    )
