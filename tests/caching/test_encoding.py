"""Bytes of values: exact both ways, and different for everything that differs."""

import contextlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.caching.encoding import MOST_DEPTH, from_bytes, to_bytes

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.tuples(v, v) | st.dictionaries(st.text(), v, max_size=3), max_leaves=8
)


@given(VALUES)
def test_what_is_read_is_what_was_written(value):
    again = from_bytes(to_bytes(value))
    assert again == value and type(again) is type(value) and to_bytes(again) == to_bytes(value)


@pytest.mark.parametrize(
    "array",
    [np.arange(6).reshape(2, 3), np.array(3.5, np.float16), np.array([]), np.array(["a", "bc"]), np.ones((2, 2), ">f4"),
     np.asfortranarray(np.arange(6).reshape(2, 3)), np.array(["", ""])],
    ids=str,
)  # fmt: skip
def test_arrays(array):
    again = from_bytes(to_bytes(array))
    assert again.dtype == array.dtype and again.shape == array.shape and np.array_equal(again, array)


def test_nothing_shares_its_bytes():
    """Alike to the eye or to ==, but not the same: another dtype, another shape, another split of the same letters."""
    values = [
        1, 1.0, True, "1", b"1", np.int32(1), np.int64(1), np.array([1]), np.array([[1]]), (1,), [1], ((1,),), ("1",), None, "",
        (), ("ab", "c"), ("a", "bc"), {"a": 1}, {"a": 1.0}, 0.0, -0.0, np.zeros(2), np.zeros((2, 0)), np.zeros((0, 2)),
    ]  # fmt: skip
    for one, other in itertools.combinations(values, 2):
        assert to_bytes(one) != to_bytes(other), f"{one!r} and {other!r}"
    assert to_bytes({"a": 1, "b": 2}) == to_bytes({"b": 2, "a": 1})


@pytest.mark.parametrize("value", [object(), np.array([object()]), {1: 2}, {1, 2}, lambda: 0])
def test_what_has_no_bytes_is_named(value):
    with pytest.raises(TypeError, match=r"cannot be cached|no order"):
        to_bytes(value)


def test_nesting_ends():
    value = 1
    for _ in range(MOST_DEPTH):
        value = (value,)
    with pytest.raises(TypeError, match="flatten it"):
        to_bytes(value)


@given(st.binary(max_size=60))
def test_other_bytes_are_an_error_or_a_value_never_a_crash(data):
    with contextlib.suppress(ValueError):
        from_bytes(data)


def test_torn_bytes_are_an_error():
    data = to_bytes({"answer": (np.arange(5), "text")})
    for end in range(len(data)):
        with pytest.raises(ValueError):
            from_bytes(data[:end])
