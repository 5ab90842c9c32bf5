"""The contract of a conversion: one edge between two forms of a model."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np

from farthing.errors import WrongOutput
from farthing.pipeline import synthetic
from farthing.types import Array, Context, Feeds, Pipeline

Run = Callable[[Feeds], list[Array]]


class Conversion(ABC):
    """A frozen dataclass; its fields are its knobs. One file per edge, named `source_to_target`.

    Laws (checked over every member by `farthing.testing.conversions`):
    - the outputs of the result equal those of the source within `tolerance`, on shapes it was not converted with too.
    - traits are kept; the source's files are not changed.
    """

    source: ClassVar[str]
    target: ClassVar[str]
    tolerance: ClassVar[float] = 1e-3  # largest |difference| relative to the largest |output| of the source, float32

    @abstractmethod
    def convert(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        """Write the pipeline in form `target` into `directory`. Runs in a worker process. Raises BuildError, MissingExtra."""

    def check(self, source: Run, target: Run, batches: tuple[Feeds, ...]) -> None:
        """max|target - source| <= tolerance * max|source| on every batch and output; raises WrongOutput with the difference."""
        for feeds in batches:
            for position, (expected, got) in enumerate(zip(source(feeds), target(feeds), strict=True)):
                shapes = ", ".join(f"{name} {value.shape}" for name, value in feeds.items())
                if expected.shape != got.shape:
                    raise WrongOutput(f"output {position} of {shapes} has shape {got.shape}, the source gives {expected.shape}")
                difference = float(np.abs(got.astype(np.float64) - expected).max(initial=0.0))
                largest = float(np.abs(expected.astype(np.float64)).max(initial=0.0))
                if not difference <= self.tolerance * largest:  # NaN too
                    raise WrongOutput(
                        f"output {position} of {shapes} differs from the source's by {difference:.3g} "
                        f"(largest value {largest:.3g}), more than {self.tolerance:g} of it"
                    )


def example(pipeline: Pipeline, context: Context, batch_size: int = 2, length: int = 16) -> Feeds:
    """Feeds of this shape to trace with: calibration rows and tokens repeated in a ring; random ones without calibration."""
    length = min(length, pipeline.max_length or length)
    if not context.calibration:
        return synthetic(pipeline, batch_size, length, context.seed)
    feeds = context.calibration[0]
    for axis_name, size in (("batch", batch_size), ("length", length)):
        for spec in pipeline.inputs:
            if axis_name in spec.shape:
                axis = spec.shape.index(axis_name)
                feeds = feeds | {spec.name: np.take(feeds[spec.name], range(size), axis=axis, mode="wrap")}
    return feeds


def trials(pipeline: Pipeline, context: Context) -> tuple[Feeds, ...]:
    """What a conversion is checked on: calibration, and shapes that it was not traced with (one item; odd sizes)."""
    return (*context.calibration[:2], example(pipeline, context, 1, 5), example(pipeline, context, 3, 11))
