"""The laws of `Runtime`, as checks that any member can be put through."""

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from farthing.forms.probing import resized
from farthing.runtimes.base import Runtime, Session
from farthing.types import Array, Feeds, Pipeline

NOISE = 1e-4  # relative to the largest output: kernels choose another order of summation for another batch
NUM_CALLS = 12


def check_rows_are_independent(session: Session, pipeline: Pipeline, feeds: Feeds) -> None:
    """A row alone answers as it does in a batch, and beside other rows."""
    together = session.run(feeds)[0]
    for row in range(len(together)):
        alone = session.run({name: value[row : row + 1] for name, value in feeds.items()})[0]
        assert_close(alone, together[row : row + 1])
    turned = session.run({name: value[::-1].copy() for name, value in feeds.items()})[0]
    assert_close(turned, together[::-1])


def check_outputs(session: Session, pipeline: Pipeline, feeds: Feeds) -> None:
    """One array per output, of its dtype, its first axis the batch; the feeds are left as they were."""
    before = {name: value.copy() for name, value in feeds.items()}
    outputs = session.run(feeds)
    assert [str(value.dtype) for value in outputs] == [spec.dtype for spec in pipeline.outputs]
    assert all(len(value) == len(next(iter(feeds.values()))) for value in outputs)
    assert all(np.array_equal(before[name], feeds[name]) for name in feeds)
    first = [value.copy() for value in outputs]
    session.run(resized(feeds, pipeline.inputs, batch=2, length=3))
    assert all(np.array_equal(a, b) for a, b in zip(first, outputs, strict=True)), "a later call overwrote these outputs"


def check_streams(session: Session, pipeline: Pipeline, feeds: Feeds, streams: int) -> None:
    """`streams` threads at once get what one after the other gets; `session` was opened with as many."""
    batches = [resized(feeds, pipeline.inputs, batch=1 + i % 3, length=3 + i % 4) for i in range(NUM_CALLS)]
    one_by_one = [session.run(batch)[0] for batch in batches]
    with ThreadPoolExecutor(streams) as pool:
        at_once = [outputs[0] for outputs in pool.map(session.run, batches)]
    for expected, got in zip(one_by_one, at_once, strict=True):
        assert_close(got, expected)


def check_snippet(runtime: Runtime, session: Session, pipeline: Pipeline, feeds: Feeds) -> None:
    """Run in the model's folder, with `feeds` defined, the snippet leaves in `outputs` what the session answers."""
    scope: dict[str, object] = {"feeds": feeds}
    with contextlib.chdir(pipeline.directory):
        exec(compile(runtime.snippet(pipeline), "snippet", "exec"), scope)
    outputs = scope["outputs"]
    assert isinstance(outputs, list) and len(outputs) == len(pipeline.outputs)
    for got, expected in zip(outputs, session.run(feeds), strict=True):
        assert_close(np.asarray(got), expected)
    assert os.linesep in runtime.snippet(pipeline) and "farthing" not in runtime.snippet(pipeline)


def assert_close(got: Array, expected: Array) -> None:
    assert got.shape == expected.shape
    assert np.abs(got.astype(np.float64) - expected).max() <= NOISE * max(1e-6, np.abs(expected).max())
