"""The contract of a conversion: one edge between two forms of a model."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np

from farthing.errors import WrongOutput
from farthing.forms.probing import Run, resized
from farthing.pipeline import synthetic
from farthing.types import Array, Context, Feeds, Pipeline

BF16_TOLERANCE = 0.05  # bfloat16 keeps 8 bits: kernels that add in another order differ by some of them


class Conversion(ABC):
    """A frozen dataclass; its fields are its knobs. One file per edge, named `source_to_target`.

    Laws (checked over every member by `farthing.testing.conversions`):
    - the outputs of the result equal those of the source within `tolerance`, on shapes it was not converted with too.
    - traits are kept; the source's files are not changed.
    """

    source: ClassVar[str]
    target: ClassVar[str]
    stops: ClassVar[frozenset[str]] = frozenset(
        {"bf16", "fp16", "int8", "coded"}
    )  # traits that may not pass: numbers of other types
    tolerance: ClassVar[float] = 1e-3  # largest |difference| relative to the largest |output| of the source, float32

    @abstractmethod
    def convert(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        """Write the pipeline in form `target` into `directory`. Runs in a worker process. Raises BuildError, MissingExtra."""

    def check(self, before: Run, after: Run, source: Pipeline, context: Context) -> None:
        """max|after - before| <= tolerance * max|before|, on all `trials`.

        Raises WrongOutput naming the shapes and the difference.
        """
        tolerance = BF16_TOLERANCE if "bf16" in source.traits else self.tolerance
        for feeds in trials(source, context):
            shapes = ", ".join(f"{name} {value.shape}" for name, value in feeds.items())
            for spec, expected, got in zip(source.outputs, before(feeds), after(feeds), strict=True):
                if expected.shape != got.shape:
                    raise WrongOutput(f"{spec.name} of {shapes} has shape {got.shape}, was {expected.shape}")
                difference, largest = _largest(got - expected), _largest(expected)
                if not difference <= tolerance * largest:  # NaN is no equal
                    raise WrongOutput(
                        f"{spec.name} of {shapes} is off by {difference:.3g} of {largest:.3g}, more than {tolerance:g}"
                    )


def trials(pipeline: Pipeline, context: Context) -> tuple[Feeds, ...]:
    """What a result is checked on: calibration, and sizes that nothing was converted with: a single item, an odd batch."""
    return (*context.calibration[:2], example(pipeline, context, 1, 5), example(pipeline, context, 3, 11))


def example(pipeline: Pipeline, context: Context, batch: int = 2, length: int = 16) -> Feeds:
    """Feeds of this shape to trace with, made of calibration data; of random values where there is none."""
    length = min(length, pipeline.max_length or length)
    feeds = context.calibration[0] if context.calibration else synthetic(pipeline, batch, length, context.seed)
    return resized(feeds, pipeline.inputs, batch=batch, length=length)


def _largest(values: Array) -> float:
    return float(np.abs(values.astype(np.float64)).max(initial=0.0))
