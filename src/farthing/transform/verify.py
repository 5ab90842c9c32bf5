"""Outputs of a changed model: finite, and of the shapes that its description promises, whatever the batch."""

import numpy as np

from farthing import plugins
from farthing.conversions.base import example
from farthing.errors import WrongOutput
from farthing.runtimes.base import Runtime, Session
from farthing.types import Array, Build, Context, Feeds, Pipeline, TensorSpec


def verify(pipeline: Pipeline, build: Build, context: Context) -> None:
    """Run calibration and batches of other sizes. Raises WrongOutput naming the output, its shape or its first bad row.

    A size that the description names ("batch", "length") is that of the feeds; a name of an output alone must mean one size
    throughout. A description is made from the original, so this compares with the original without running it.
    """
    session = _open(pipeline, build, context)
    sizes: dict[str, int] = {}
    for feeds in (*context.calibration[:2], example(pipeline, context, 1, 5), example(pipeline, context, 3, 11)):
        bound = sizes | _bound(pipeline, feeds)
        for spec, values in zip(pipeline.outputs, session.run(feeds), strict=True):
            _check_shape(spec, values, bound)
            _check_finite(spec, values)
        named = {spec_name for spec in pipeline.inputs for spec_name in spec.shape}
        sizes = {name: size for name, size in bound.items() if name not in named}
    session.close()


def _open(pipeline: Pipeline, build: Build, context: Context) -> Session:
    """A module is run as it is: to compile it for a look would take longer than the rest."""
    if pipeline.form == "torch":
        from farthing.forms import torch_form

        return torch_form.TorchSession(torch_form.load(pipeline), pipeline.inputs, threads=context.threads)
    runtime = plugins.make(Runtime, build.runtime)  # type: ignore[type-abstract]
    return runtime.open(pipeline, threads=context.threads, streams=1, device_kind=build.device_kind)


def _bound(pipeline: Pipeline, feeds: Feeds) -> dict[str, int]:
    """Named size -> its value in these feeds."""
    return {
        name: size
        for spec in pipeline.inputs
        for name, size in zip(spec.shape, feeds[spec.name].shape, strict=True)
        if isinstance(name, str)
    }


def _check_shape(spec: TensorSpec, values: Array, bound: dict[str, int]) -> None:
    """Sizes that no input names are bound by the first batch: `bound` grows."""
    expected = spec.shape
    if len(expected) == values.ndim:
        expected = tuple(
            bound.setdefault(n, got) if isinstance(n, str) else n for n, got in zip(expected, values.shape, strict=True)
        )
    if values.shape != expected:
        raise WrongOutput(f"output {spec.name!r} has shape {values.shape}, the original gives {expected}")


def _check_finite(spec: TensorSpec, values: Array) -> None:
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    row = int(np.argmin(np.isfinite(values.reshape(len(values), -1)).all(axis=1)))
    raise WrongOutput(f"output {spec.name!r} holds NaN or infinity, first in row {row} of a batch of {len(values)}")
