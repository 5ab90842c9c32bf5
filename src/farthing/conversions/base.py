"""The contract of a conversion: one edge between two forms of a model."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from farthing.types import Context, Pipeline


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
