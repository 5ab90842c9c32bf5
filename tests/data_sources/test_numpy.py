"""NumPy files: .npz by key, .npy by name, and no pickles."""

from pathlib import Path

import numpy as np
import pytest

from farthing.data_sources.numpy import Numpy
from farthing.errors import DataError
from farthing.testing import data_sources as laws


def sample(directory: Path, table: dict) -> Numpy:
    np.savez(directory / "table.npz", **table)
    return Numpy(path=directory / "table.npz")


def test_files_side_by_side_and_one_after_another(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    np.save(tmp_path / "y.npy", np.arange(3))
    (tmp_path / "more").mkdir()
    np.savez(tmp_path / "more" / "rest.npz", x=np.zeros((1, 2)), y=[9])
    columns = Numpy(path=(tmp_path / "x.npy", tmp_path / "y.npy", tmp_path / "more" / "rest.npz")).read()
    assert columns["x"].shape == (4, 2) and columns["y"].tolist() == [0, 1, 2, 9]


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((2, 2)))
    np.savez(tmp_path / "b.npz", x=np.ones((2, 3)))
    with pytest.raises(DataError, match="column 'x' do not fit together"):
        Numpy(path=(tmp_path / "a.npz", tmp_path / "b.npz")).read()
    np.savez(tmp_path / "c.npz", x=np.ones(2), y=np.ones(3))
    with pytest.raises(DataError, match="'y' has 3 rows but 'x' has 2"):
        Numpy(path=tmp_path / "c.npz").read()


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"o\.npy is no .*object arrays are code"):
        Numpy(path=tmp_path / "o.npy").read()


def test_missing_file(tmp_path: Path) -> None:
    laws.check_missing_is_named(Numpy(path=tmp_path / "gone.npz"), "gone.npz")
