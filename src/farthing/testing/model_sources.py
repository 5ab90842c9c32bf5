"""The laws of `ModelSource`, as checks that any member can be put through."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from farthing import pipeline as pipelines
from farthing import plugins
from farthing.codec import digest_tree
from farthing.errors import ModelError
from farthing.forms.probing import resized
from farthing.model_sources.base import ModelSource
from farthing.runtimes.base import Runtime, Session
from farthing.testing.samples import TEXTS
from farthing.types import Feeds, Pipeline


def check_snapshot(source: ModelSource, directory: Path, *, vanish: Callable[[], None], trust: bool = False) -> Pipeline:
    """Two snapshots hold the same bytes and are described on disk; what they hold runs as described when the source is gone."""
    first, second = (_new(directory / name) for name in ("first", "second"))
    pipeline = source.snapshot(first, trust=trust)
    source.snapshot(second, trust=trust)
    assert digest_tree(first) == digest_tree(second), "two snapshots of the same source differ"
    assert pipelines.read(first) == pipeline, "pipeline.json does not say what snapshot returned"
    vanish()
    shutil.rmtree(second)
    check_runs_as_described(pipeline)
    return pipeline


def check_runs_as_described(pipeline: Pipeline) -> None:
    """On the runtime that is native to its form: the outputs have the shapes and dtypes of `pipeline.outputs`."""
    session, feeds = native_session(pipeline), feeds_for(pipeline)
    for sizes in ({"batch": 1, "length": 4}, {"batch": 5, "length": 6}):
        outputs = session.run(resized(feeds, pipeline.inputs, **sizes))
        assert len(outputs) == len(pipeline.outputs)
        for spec, value in zip(pipeline.outputs, outputs, strict=True):
            shape = tuple(sizes[n] if isinstance(n, str) else n for n in spec.shape)
            assert (value.shape, str(value.dtype)) == (shape, spec.dtype), (spec, value.shape, value.dtype)
            assert np.isfinite(value).all()
    session.close()


def check_refuses(source: ModelSource, directory: Path, *words: str, trust: bool = False) -> None:
    """`snapshot` raises a ModelError that says all of `words`."""
    try:
        source.snapshot(_new(directory), trust=trust)
    except ModelError as error:
        for word in words:
            assert word in str(error), f"{word!r} is not in: {error}"
    else:
        raise AssertionError(f"{source} was accepted")


def feeds_for(pipeline: Pipeline) -> Feeds:
    """A batch of four: texts for a text model, random values for any other."""
    return pipelines.feeds_of(pipeline, TEXTS[:4], 4)[0] if pipeline.tokenizer else pipelines.synthetic(pipeline, 4, 1)


def native_session(pipeline: Pipeline) -> Session:
    for name in plugins.names(Runtime):
        if pipeline.form in plugins.load(Runtime, name).native:  # type: ignore[type-abstract]
            return plugins.load(Runtime, name)().open(pipeline, threads=1, streams=1)  # type: ignore[type-abstract]
    raise AssertionError(f"no runtime is native to {pipeline.form}")


def _new(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory
