"""An object of the calling process, which pickled it into its own run directory. Not for job files."""

import hashlib
import pickle
from dataclasses import dataclass
from pathlib import Path

from farthing.errors import ModelError
from farthing.model_sources.base import ModelSource, snapshot_object
from farthing.types import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Live(ModelSource):
    """The sha256 was taken by the process that holds the object: an equal digest makes it that process's own code."""

    path: Path  # cloudpickle of what `snapshot_object` takes
    sha256: str

    def snapshot(self, directory: Path, *, trust: bool) -> Pipeline:
        try:
            payload = self.path.read_bytes()
        except OSError as error:
            raise ModelError(f"{self.path} cannot be read: {error.strerror}. Call farthing.optimize again.") from error
        digest = hashlib.sha256(payload).hexdigest()
        if digest != self.sha256:
            raise ModelError(f"{self.path} was changed: its sha256 is {digest}, expected {self.sha256}. It was not opened.")
        try:
            model = pickle.loads(payload)
        except (ImportError, AttributeError, pickle.UnpicklingError) as error:
            raise ModelError(
                f"the live model cannot be opened in a worker: {error}. Define it in an importable module."
            ) from error
        return snapshot_object(model, directory)
