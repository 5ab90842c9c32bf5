"""The contract of a method: one change of a model that makes it cheaper."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from farthing.types import Context, Pipeline, Profile


class Method(ABC):
    """A frozen dataclass; its fields are its knobs.

    Laws (checked over every member by `farthing.testing.methods`):
    - the source pipeline's files are not changed: digests before and after are equal.
    - the same context and seed give the same outputs.
    - the result has form `produces[form]`, the traits of the source minus `drops` plus `adds`, and can be opened.
    - what it claims is real: an int8 model is stored in int8 (fewer bytes) and executed so.
    """

    consumes: ClassVar[frozenset[str]]  # forms it can read; it writes the same form
    needs: ClassVar[frozenset[str]] = frozenset()  # traits
    adds: ClassVar[frozenset[str]] = frozenset()
    drops: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        """Write the changed pipeline into `directory` (use `pipeline.derive`). Runs in a worker process.

        Raises BuildError naming the layer and the reason where this model cannot be treated, and MissingExtra.
        """

    @classmethod
    @abstractmethod
    def propose(cls, profile: Profile) -> "tuple[Method, ...] | str":
        """The settings worth trying for this profile, best guess first; or why this method cannot pay here."""

    @abstractmethod
    def predicted_speedup(self, profile: Profile) -> float:
        """Guess, from the profile alone, of time(original) / time(after); orders the search, proves nothing."""
