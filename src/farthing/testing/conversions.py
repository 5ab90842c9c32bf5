"""The laws of `Conversion`, as checks that any member can be put through."""

from pathlib import Path

import numpy as np

from farthing import pipeline as pipelines
from farthing import plugins
from farthing.codec import digest_tree
from farthing.conversions.base import Conversion
from farthing.forms.probing import resized
from farthing.runtimes.base import Runtime, Session
from farthing.testing.samples import context
from farthing.types import Pipeline


def check_conversion(conversion: Conversion, source: Pipeline, directory: Path) -> Pipeline:
    """The result has the target's form, the source's traits and, at sizes that the conversion never saw, its outputs."""
    facts = context(source)
    digest = digest_tree(source.directory)
    result = conversion.convert(source, directory, facts)
    assert digest_tree(source.directory) == digest, "the source's files were changed"
    assert (result.form, result.traits) == (conversion.target, source.traits)
    assert (result.inputs, result.outputs, result.tokenizer) == (source.inputs, source.outputs, source.tokenizer)
    assert not result.pickled, "the result holds code of the source"
    assert pipelines.read(directory) == result
    before, after = opened(source), opened(result)
    for sizes in ({"batch": 1, "length": 3}, {"batch": 7, "length": 13}):
        feeds = resized(facts.calibration[-1], source.inputs, **sizes)
        for expected, got in zip(before.run(feeds), after.run(feeds), strict=True):
            assert got.shape == expected.shape
            assert np.abs(got - expected).max() <= conversion.tolerance * np.abs(expected).max()
    return result


def opened(pipeline: Pipeline) -> Session:
    """On the first runtime that accepts the form, one that needs no compilation before others."""
    accepting = [
        runtime
        for name in plugins.names(Runtime)
        if pipeline.form in (runtime := plugins.load(Runtime, name)).accepts  # type: ignore[type-abstract]
    ]
    assert accepting, f"no runtime accepts {pipeline.form}"
    runtime = min(accepting, key=lambda kind: pipeline.form not in kind.native)
    return runtime().open(pipeline, threads=1, streams=1)
