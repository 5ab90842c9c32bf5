"""The laws of `DataSource`, as checks that any member can be put through."""

import numpy as np

from farthing.data_sources.base import DataSource
from farthing.errors import DataError
from farthing.types import Column


def check_columns(source: DataSource) -> None:
    """All columns have as many rows; texts are lists of str, everything else arrays."""
    columns = source.read()
    assert columns, "no columns"
    assert len({len(column) for column in columns.values()}) == 1, {name: len(column) for name, column in columns.items()}
    for name, column in columns.items():
        if isinstance(column, np.ndarray):
            assert column.dtype.kind in "biufO", f"{name}: {column.dtype}"
        else:
            assert isinstance(column, list) and all(type(text) is str for text in column), f"{name} is not a list of str"


def check_reading_twice_gives_the_same(source: DataSource) -> None:
    first, second = source.read(), source.read()
    assert list(first) == list(second)
    for name, column in first.items():
        assert_same(column, second[name])


def check_missing_is_named(source: DataSource, name: str) -> None:
    """`source` points at nothing; the error says `name`."""
    try:
        source.read()
    except DataError as error:
        assert name in str(error), f"{error} does not name {name}"
    else:
        raise AssertionError(f"{source} read something that is not there")


def check_holds(source: DataSource, expected: dict[str, Column]) -> None:
    """The columns of `source` are those of `expected`, in this order of rows."""
    columns = source.read()
    assert columns.keys() == expected.keys()
    for name, column in expected.items():
        assert_same(column, columns[name])


def assert_same(left: Column, right: Column) -> None:
    if isinstance(left, np.ndarray):
        assert isinstance(right, np.ndarray) and left.shape == right.shape, (left, right)
        assert np.array_equal(left, right, equal_nan=left.dtype.kind == "f"), (left, right)
    else:
        assert left == right, (left, right)
