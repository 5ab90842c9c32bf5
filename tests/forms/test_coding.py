"""The coder of tables: what comes out is what went in, in about as many bits as its entropy has."""

import numpy as np
import pytest

from farthing.forms import coding


def back(tables: list[np.ndarray]) -> list[np.ndarray]:
    return coding.decode(coding.encode(tables), [table.shape for table in tables])


def sparse(rows: int, columns: int, share: float, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return ((draw.random((rows, columns)) < share) * draw.integers(1, 16, (rows, columns))).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (7, 300), (300, 7)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_what_comes_out_is_what_went_in(shape: tuple[int, int], share: float) -> None:
    table = sparse(*shape, share)
    (got,) = back([table])
    assert got.dtype == np.uint8 and np.array_equal(got, table)


def test_tables_follow_one_another_and_may_be_empty_or_hold_any_byte() -> None:
    draw = np.random.default_rng(1)
    tables = [
        sparse(20, 30, 0.1), np.zeros((0, 5), np.uint8), draw.integers(0, 256, (9, 40)).astype(np.uint8),
        np.full((3, 3), 255, np.uint8), np.zeros((5, 0), np.uint8), sparse(4, 4, 0.5),
    ]  # fmt: skip
    assert all(np.array_equal(got, table) for got, table in zip(back(tables), tables, strict=True))


def test_a_large_table_is_coded_in_few_looks() -> None:
    table = sparse(40_000, 60, 0.1)
    assert np.array_equal(back([table])[0], table)


def test_without_structure_it_takes_about_the_entropy() -> None:
    table = sparse(400, 500, 0.05)
    entropy = 400 * 500 * -(0.05 * np.log2(0.05) + 0.95 * np.log2(0.95)) + (table > 0).sum() * np.log2(15)
    assert 8 * len(coding.encode([table])) < 1.03 * entropy


def test_columns_that_are_never_used_cost_next_to_nothing() -> None:
    table = sparse(400, 500, 0.2)
    table[:, 25:] = 0
    within = sparse(400, 25, 0.2)
    assert len(coding.encode([table])) < 1.1 * len(coding.encode([within])) + 100


def test_the_shares_do_not_depend_on_how_sums_of_floats_are_taken() -> None:
    columns = coding._Columns(50, coding.SETTINGS[0])
    columns.learn(sparse(4, 50, 0.3) > 0, np.array([15, 15, 15, 15]))
    shares = columns.shares(np.array([10]))
    assert float(shares.sum()) == pytest.approx(10, rel=1e-6)
    assert shares.max() < 1 and shares.min() > 0
