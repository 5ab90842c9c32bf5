"""Columns -> rows that can carry the question, and that the model can read: inputs, labels, slices, what ties rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from farthing.errors import DataError
from farthing.spec.schema import DataTable, near, shown
from farthing.types import Array, Column, Dataset, Pipeline, TensorSpec

MOST_TOLD = 12  # columns named in an error


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    dataset: Dataset
    groups: Column | None = None  # rows of one value stay on one side
    sides: Column | None = None  # the split that the person gave each row

    def take(self, index: Array) -> "Rows":
        groups, sides = (None if c is None else [c[int(i)] for i in index] for c in (self.groups, self.sides))
        return Rows(dataset=self.dataset.take(index), groups=groups, sides=sides)


def rows_of(
    columns: Mapping[str, Column], verify: Mapping[str, Column] | None, table: DataTable, slices: Sequence[str]
) -> tuple[Rows, Rows | None]:
    """The rows of the data and, where there is one, of the table that is the verify split; labels are numbered alike.

    Raises DataError naming the column and the row: missing, empty, NaN, one class, not a number, unknown class.
    """
    tables = [columns] if verify is None else [columns, verify]
    names = ["data", "data.verify"]
    labels = _labels(tables, names, table) if table.label is not None else [None] * len(tables)
    rows = [_rows(one, where, table, slices, y) for one, where, y in zip(tables, names, labels, strict=False)]
    if verify is None:
        return rows[0], None
    _check_alike(rows[0].dataset, rows[1].dataset)
    return rows[0], rows[1]


def _check_alike(data: Dataset, verify: Dataset) -> None:
    for name, column, other in zip(data.names, data.columns, verify.columns, strict=True):
        texts, other_texts = not isinstance(column, np.ndarray), not isinstance(other, np.ndarray)
        if texts != other_texts:
            odd, first = ("data.verify", _first_other(other)) if other_texts else ("data", _first_other(column))
            raise DataError(f"column {name!r} holds texts in {odd}{first}, and numbers in the other table: mend that row")
        if isinstance(column, np.ndarray) and isinstance(other, np.ndarray) and column.shape[1:] != other.shape[1:]:
            sizes = [" x ".join(map(str, one.shape[1:])) or "one number" for one in (column, other)]
            raise DataError(f"column {name!r} gives {sizes[0]} an item in data, and {sizes[1]} in data.verify")


def check_fit(data: Dataset, pipeline: Pipeline) -> None:
    """Raises DataError where the model cannot read the columns: texts for numbers, numbers for texts, wrong shape or count."""
    reads_texts = pipeline.tokenizer is not None
    wanted = 1 if reads_texts else len(pipeline.inputs)
    names = data.names or tuple(f"input {i + 1}" for i in range(len(data.columns)))
    if len(data.columns) != (2 if data.pair else wanted):
        takes = "one text" if reads_texts else f"{wanted}: {', '.join(spec.name for spec in pipeline.inputs)}"
        pair = " (two texts that are compared need pair = true)" if reads_texts and len(data.columns) == 2 else ""
        hint = "" if reads_texts or wanted > 1 else ": columns that make one input together are named in features"
        said = f"[data] input names {len(names)} columns ({', '.join(names)}), and the model takes {takes}{pair}{hint}"
        raise DataError(said)
    specs = pipeline.inputs[:1] * len(names) if reads_texts or data.pair else pipeline.inputs
    for name, column, spec in zip(names, data.columns, specs, strict=True):
        if reads_texts or spec.dtype == "str":
            if isinstance(column, np.ndarray):
                raise DataError(f"data, column {name!r} holds numbers, and the model reads texts: name a column of texts")
        elif not isinstance(column, np.ndarray):
            raise DataError(
                f"data, column {name!r} holds texts{_first_other(column)}, and the model reads numbers ({spec.dtype}):"
                " encode them or mend that row, or name columns of numbers with input or features"
            )
        else:
            _check_numbers(name, column, spec)


def _check_numbers(name: str, column: Array, spec: TensorSpec) -> None:
    sizes = list(zip(column.shape[1:], spec.shape[1:], strict=False))
    if column.ndim != len(spec.shape) or any(isinstance(size, int) and size != got for got, size in sizes):
        got, wanted = (" x ".join(map(str, shape[1:])) or "one number" for shape in (column.shape, spec.shape))
        features = ": name them all in features" if column.ndim == 1 and len(spec.shape) == 2 else ""
        raise DataError(
            f"data, column {name!r} gives {got} an item, and the model's input {spec.name} takes {wanted}{features}"
        )
    if np.dtype(spec.dtype).kind in "biu" and column.dtype.kind == "f" and (column % 1).any():
        raise DataError(f"data, column {name!r} holds fractions, and the model's input {spec.name} takes {spec.dtype}")


def _rows(columns: Mapping[str, Column], where: str, table: DataTable, slices: Sequence[str], labels: Array | None) -> Rows:
    inputs = (
        (_features(columns, where, table, slices),)
        if table.patterns
        else tuple(_input(columns, where, n, table.pair) for n in table.inputs)
    )
    if len(inputs[0]) == 0:
        raise DataError(f"{where} has no rows")
    sliced = {name: np.asarray(_column(columns, where, name)) for name in slices}
    features = ", ".join(table.patterns[:3]) + (", ..." if len(table.patterns) > 3 else "")
    names = (features,) if table.patterns else table.inputs
    dataset = Dataset(columns=inputs, labels=labels, slices=sliced, pair=table.pair, names=names)
    groups = None if table.group is None else _column(columns, where, table.group)
    sides = None if table.split is None else _column(columns, where, table.split)
    return Rows(dataset=dataset, groups=groups, sides=sides)


def _input(columns: Mapping[str, Column], where: str, name: str, pair: bool) -> Column:
    column = _column(columns, where, name)
    if isinstance(column, np.ndarray):
        if pair:
            raise DataError(f"{where}, column {name!r} holds numbers; pair = true compares two columns of texts")
        return _numbers(column, where, name)
    return column


def _features(columns: Mapping[str, Column], where: str, table: DataTable, slices: Sequence[str]) -> Array:
    """(rows, features): the number columns that match, side by side in the table's order."""
    other = {table.label, table.group, table.split, *slices}
    names = [name for pattern in table.patterns for name in _matching(columns, where, pattern, other)]
    chosen = [_column(columns, where, name) for name in dict.fromkeys(names)]
    for name, column in zip(dict.fromkeys(names), chosen, strict=True):
        if not isinstance(column, np.ndarray) or column.ndim != 1 or column.dtype.kind not in "biuf":
            raise DataError(
                f"{where}, column {name!r} is not one of numbers{_first_other(column)}; features must be: encode it, mend"
                " that row, or leave the column out"
            )
        _numbers(column, where, name)
    return np.stack([np.asarray(column) for column in chosen], axis=1)


def _first_other(column: Column) -> str:
    """' (row 3 is 'n/a')' of the first value that is no number, or nothing."""
    for row, value in enumerate(column):
        try:
            float(value)
        except (TypeError, ValueError):
            return f" (row {row + 1} is {shown(value)})"
    return ""


def _matching(columns: Mapping[str, Column], where: str, pattern: str, other: set[str | None]) -> list[str]:
    """The column of that very name, else all that match the pattern and have no other use."""
    if pattern in columns:
        return [pattern]
    found = [name for name in columns if name not in other and fnmatchcase(name, pattern)]
    if not found:
        _column(columns, where, pattern)
    return found


def _column(columns: Mapping[str, Column], where: str, name: str) -> Column:
    if name not in columns:
        there = [*columns][:MOST_TOLD]
        more = f" and {len(columns) - MOST_TOLD} more" if len(columns) > MOST_TOLD else ""
        raise DataError(f"{where} has no column {name!r}; it has: {', '.join(there)}{more}.{near(name, columns)}")
    return columns[name]


def _numbers(column: Array, where: str, name: str) -> Array:
    """`column`, if it is finite numbers in rows of one shape."""
    if column.dtype.kind not in "biuf":
        raise DataError(
            f"{where}, column {name!r} is neither texts nor numbers in rows of one shape (row 1: {shown(column[0])})"
        )
    bad = ~np.isfinite(column.reshape(len(column), -1)).all(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"{where}, column {name!r}: {bad.sum()} of {len(column)} rows hold NaN, infinity or nothing, row {row + 1} first."
            " Fill them in, or drop those rows"
        )
    return column


def _labels(tables: Sequence[Mapping[str, Column]], names: Sequence[str], table: DataTable) -> list[Array | None]:
    """Labels as numbers: as they are, or the position in `classes` (for texts, by default: all that occur, sorted)."""
    assert table.label is not None
    found = [_column(one, where, table.label) for one, where in zip(tables, names, strict=False)]
    for column, where in zip(found, names, strict=False):
        if len(column) == 0:
            raise DataError(f"{where} has no rows")
        if len({str(value) for value in column}) == 1:
            same = f"{where}, label {table.label!r} is {shown(column[0])} in every row"
            raise DataError(f"{same}: with one class, no metric can tell models apart")
        if isinstance(column, np.ndarray):
            _numbers(column, where, table.label)
    texts = any(not isinstance(column, np.ndarray) for column in found)
    if not texts and table.classes is None:
        return [np.asarray(column) for column in found]
    classes = table.classes or tuple(sorted({str(value) for column in found for value in column}))
    return [_numbered(column, classes, f"{where}, label {table.label!r}") for column, where in zip(found, names, strict=False)]


def _numbered(column: Column, classes: Sequence[str | float], what: str) -> Array:
    position = {value: index for index, value in enumerate(classes)}
    for row, value in enumerate(column):
        if value not in position:
            close = near(str(value), map(str, classes))
            raise DataError(f"{what}, row {row + 1} is {shown(value)}, none of the {len(classes)} classes.{close}")
    return np.array([position[value] for value in column], dtype=np.int64)
