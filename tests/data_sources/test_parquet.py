"""Parquet and both Arrow IPC formats."""

from pathlib import Path

import numpy as np
import pytest

from farthing.data_sources.parquet import Parquet
from farthing.errors import DataError
from farthing.testing import data_sources as laws

pa = pytest.importorskip("pyarrow")


def sample(directory: Path, table: dict) -> Parquet:
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table(table), directory / "table.parquet")
    return Parquet(path=directory / "table.parquet")


def mixed() -> object:
    return pa.table(
        {
            "v": pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0, 4.0]), 2),
            "n": pa.array([1, None]),
            "d": pa.array(["x", "y"]).dictionary_encode(),
        }
    )


@pytest.mark.parametrize("writer", ["new_file", "new_stream"])
def test_arrow_ipc(tmp_path: Path, writer: str) -> None:
    import pyarrow.ipc

    with getattr(pyarrow.ipc, writer)(str(tmp_path / "t.arrow"), mixed().schema) as out:
        out.write_table(mixed())
    columns = Parquet(path=(tmp_path / "t.arrow", tmp_path / "t.arrow")).read()
    assert columns["v"].tolist() == [[1, 2], [3, 4], [1, 2], [3, 4]]
    assert np.array_equal(columns["n"], [1, np.nan, 1, np.nan], equal_nan=True)
    assert columns["d"] == ["x", "y", "x", "y"]


def test_another_format(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"t\.parquet is neither Parquet nor Arrow IPC"):
        Parquet(path=tmp_path / "t.parquet").read()


def test_missing_file(tmp_path: Path) -> None:
    laws.check_missing_is_named(Parquet(path=tmp_path / "gone.parquet"), "gone.parquet")
