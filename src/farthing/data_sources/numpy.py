"""NumPy files: an .npz gives a column for each of its arrays, an .npy one that is named after the file."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farthing.data_sources.base import DataSource, PathOrPaths, checked, files, named
from farthing.errors import DataError
from farthing.types import Array, Column


@dataclass(frozen=True, slots=True, kw_only=True)
class Numpy(DataSource):
    """Of several files, columns of the same name follow one another and others stand side by side."""

    path: PathOrPaths  # a file, or a list of files

    def read(self) -> dict[str, Column]:
        parts: dict[str, list[Array]] = {}
        for path in files(self.path):
            for name, array in _arrays(path).items():
                parts.setdefault(name, []).append(array)
        return checked({name: _column(name, arrays) for name, arrays in parts.items()}, named(self.path))


def _arrays(path: Path) -> dict[str, Array]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {path.stem: loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"data: {path} is no .npy or .npz of numbers or texts (object arrays are code): {error}") from error


def _column(name: str, arrays: list[Array]) -> Column:
    try:
        array = np.concatenate(arrays)
    except ValueError as error:  # also an array without an axis that counts rows
        raise DataError(f"data: the arrays of column {name!r} do not fit together: {error}") from error
    return [str(text) for text in array] if array.dtype.kind == "U" and array.ndim == 1 else array
