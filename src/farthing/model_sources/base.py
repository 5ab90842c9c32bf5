"""The contract of a model source: where a person's model comes from."""

from abc import ABC, abstractmethod
from pathlib import Path

from farthing.types import Pipeline


class ModelSource(ABC):
    """A frozen dataclass; its fields are the keys of the job's [model] table.

    Laws (checked over every member by `farthing.testing.model_sources`):
    - `snapshot` writes everything the pipeline needs below `directory`: the source may vanish afterwards.
    - `snapshot` twice gives files with equal digests.
    - A file that holds code (a pickle) is refused with a ModelError unless `trust` is true.
    """

    @abstractmethod
    def snapshot(self, directory: Path, *, trust: bool) -> Pipeline:
        """Write the model in its own form into the existing, empty `directory`. Runs in a worker process.

        Raises ModelError naming what is missing or unreadable, and MissingExtra.
        """
