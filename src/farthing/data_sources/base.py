"""The contract of a data source: a table of columns."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from farthing.errors import DataError
from farthing.types import Column

FEW = 20  # different values are counted up to here
PathOrPaths = Path | tuple[Path, ...]  # rows of several files follow one another


class DataSource(ABC):
    """A frozen dataclass; its fields are the source's keys in the job's [data] table.

    A field `root`, where there is one, is filled with the job file's folder.

    Laws (checked over every member by `farthing.testing.data_sources`):
    - all columns have the same number of rows, in the file's order; reading twice gives the same.
    - text columns are lists of str; numeric ones NumPy arrays whose first axis counts rows. What is neither (lists of
      unlike length, dates) is an object array: good for grouping, refused as an input.
    - a missing file is a DataError that names it.
    """

    @abstractmethod
    def read(self) -> dict[str, Column]:
        """Every column by name. Raises DataError naming the file and what is wrong with it, and MissingExtra."""

    def questions(self) -> Mapping[str, Any]:
        """Optional keys that `farthing init` had better ask for, the others being set: key -> the answer it offers."""
        return {}


def files(path: PathOrPaths) -> tuple[Path, ...]:
    """All of `path`. Raises DataError naming the first that is no file."""
    paths = (path,) if isinstance(path, Path) else path
    for one in paths:
        if one.is_dir():
            inside = sorted(file.name for file in one.iterdir() if file.is_file())[:5]
            raise DataError(f"data: {one} is a folder, expected a file{': ' if inside else ''}{', '.join(inside)}")
        if not one.is_file():
            raise DataError(f"data: {one} does not exist")
    return paths


def named(path: PathOrPaths) -> str:
    """The paths as messages tell them."""
    return str(path) if isinstance(path, Path) else ", ".join(map(str, path))


def from_texts(values: Sequence[str]) -> Column:
    """Numbers (float64) if every cell that is not empty reads as one, an empty cell then being NaN; else texts."""
    try:
        numbers = np.array([float(value) if value.strip() else np.nan for value in values])
    except ValueError:
        return list(values)
    return list(values) if np.isnan(numbers).all() else numbers


def from_values(values: Iterable[Any]) -> Column:
    """A column of Python values: None counts as NaN among numbers, and makes an object array among texts."""
    items = list(values)
    if all(isinstance(value, str) for value in items):
        return [str(value) for value in items]  # NumPy's own texts become plain ones
    if any(value is None for value in items) and all(value is None or isinstance(value, int | float) for value in items):
        return np.array([np.nan if value is None else value for value in items], dtype=np.float64)
    try:
        array = np.asarray(items)
    except ValueError:  # rows of unlike shape
        array = np.empty(0, dtype=object)
    if array.dtype.kind in "biuf":
        return array
    column = np.empty(len(items), dtype=object)
    for row, value in enumerate(items):
        column[row] = value
    return column


def from_arrow(table: Any) -> dict[str, Column]:
    """The columns of a `pyarrow.Table`; dictionaries are decoded, a null among numbers is NaN."""
    return {name: _from_chunks(table.column(name)) for name in table.column_names}


def _from_chunks(column: Any) -> Column:
    import pyarrow as pa

    kind, width = column.type, 1
    if pa.types.is_fixed_size_list(kind):
        kind, width = kind.value_type, kind.list_size
    if column.null_count or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return from_values(column.to_pylist())
    if column.type == kind:
        return np.asarray(column.to_numpy())
    return np.asarray(column.combine_chunks().flatten().to_numpy(zero_copy_only=False)).reshape(len(column), width)


def checked(columns: Mapping[str, Column], where: str) -> dict[str, Column]:
    """`columns`, if they are all of one length and their texts are Unicode. Raises DataError naming what is not."""
    if not columns:
        raise DataError(f"data: {where} holds no columns: give one with at least one row")
    first, num_rows = next((name, len(column)) for name, column in columns.items())
    for name, column in columns.items():
        if len(column) != num_rows:
            raise DataError(f"data: in {where}, column {name!r} has {len(column)} rows but {first!r} has {num_rows}")
        if not isinstance(column, np.ndarray):
            check_texts(column, f"data: in {where}, column {name!r}, row")
    return dict(columns)


def check_texts(texts: Iterable[str], where: str) -> None:
    """Raises DataError naming the first that holds half a surrogate pair: JSON can say so, and no tokenizer takes it."""
    for number, text in enumerate(texts, 1):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{where} {number} is no Unicode text: {error}. Mend it, or leave it out.") from error


def described(column: Column) -> str:
    """A column in a line, for whoever has not seen it."""
    if not isinstance(column, np.ndarray):
        different = sorted(set(column))
        few = f", {len(different)} different" if len(different) <= FEW else ""
        return f"texts{few}, like '{column[0][:50]}'"
    if column.dtype.kind not in "biuf":
        return "neither texts nor numbers: good to group by"
    if column.ndim > 1:
        return f"{' x '.join(map(str, column.shape[1:]))} numbers each"
    known = column[np.isfinite(column)] if column.dtype.kind == "f" else column
    missing = f", {len(column) - len(known)} of them missing" if len(known) < len(column) else ""
    return f"numbers from {known.min():g} to {known.max():g}{missing}" if len(known) else "nothing"
