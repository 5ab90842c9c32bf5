"""A fitted scikit-learn estimator in a skops file, or in a pickle where that is trusted."""

import pickle
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farthing.errors import MissingExtra, ModelError
from farthing.model_sources.base import ModelSource, inside
from farthing.types import Pipeline

PICKLES = (".pkl", ".pickle", ".joblib")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sklearn(ModelSource):
    path: Path  # .skops; with trust also .pkl, .pickle, .joblib

    def check(self, *, trust: bool) -> None:
        if not self.path.is_file():
            raise ModelError(f"no model at {self.path}: give the file that skops.io.dump wrote{inside(self.path, '*.skops')}")
        if self.path.suffix == ".onnx":
            raise ModelError(f"{self.path} is an ONNX file: set source = 'onnx'")
        if self.path.suffix in PICKLES and not trust:
            raise ModelError(
                f"{self.path} is a pickle, and opening it runs the code it holds. Write it with skops.io.dump,"
                " or set trust = true if you know its author."
            )
        if self.path.suffix not in PICKLES and not zipfile.is_zipfile(self.path):
            raise ModelError(f"{self.path} is not a readable skops file: write it with skops.io.dump")

    def snapshot(self, directory: Path, *, trust: bool) -> Pipeline:
        from farthing.forms import sklearn_form

        self.check(trust=trust)
        if self.path.suffix in PICKLES:
            return sklearn_form.snapshot(self._unpickled(), directory)
        shutil.copy(self.path, directory / sklearn_form.FILE)
        return sklearn_form.describe(directory, trust=trust)

    def _unpickled(self) -> Any:
        try:
            import joblib  # type: ignore[import-untyped]
        except ImportError as error:
            raise MissingExtra("scikit-learn", "sklearn") from error
        try:
            return joblib.load(self.path)
        except (OSError, EOFError, KeyError, ImportError, AttributeError, ValueError, pickle.UnpicklingError) as error:
            raise ModelError(f"{self.path} cannot be unpickled here: {error}") from error
