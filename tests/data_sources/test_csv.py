"""CSV: number columns, headers, several files, and what is wrong with a broken one."""

import csv
from pathlib import Path

import numpy as np
import pytest

from farthing.data_sources.csv import Csv
from farthing.errors import DataError, JobError
from farthing.testing import data_sources as laws


def sample(directory: Path, table: dict) -> Csv:
    path = directory / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return Csv(path=path)


def written(tmp_path: Path, text: str, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_numbers_and_empty_cells(tmp_path: Path) -> None:
    columns = Csv(path=written(tmp_path, 'a, b ,c\n1,x,\n\n,"y, z",\n')).read()
    assert np.array_equal(columns["a"], [1.0, np.nan], equal_nan=True)
    assert columns["b"] == ["x", "y, z"]
    assert columns["c"] == ["", ""]


def test_without_header_and_several_files(tmp_path: Path) -> None:
    one, two = written(tmp_path, "1;a\n", "one.csv"), written(tmp_path, "2;3\n", "two.csv")
    both = Csv(path=(one, two), header=False, delimiter=";").read()
    assert np.array_equal(both["column_1"], [1.0, 2.0]) and both["column_2"] == ["a", "3"]
    assert list(Csv(path=one, header=False, columns=("n", "t"), delimiter=";").read()) == ["n", "t"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv is empty"),
        ("a,b\n1,2\n1\n", "line 3: 1 cells, expected 2 \\(a, b\\)"),
        ("a,a\n1,2\n", "names a column twice"),
        ('a\n"x\n', "cannot be read as CSV"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Csv(path=written(tmp_path, text)).read()


def test_files_with_other_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"two\.csv has columns b, the first file a"):
        Csv(path=(written(tmp_path, "a\n1\n"), written(tmp_path, "b\n1\n", "two.csv"))).read()


def test_missing_file(tmp_path: Path) -> None:
    laws.check_missing_is_named(Csv(path=tmp_path / "gone.csv"), "gone.csv")


def test_settings_without_effect() -> None:
    with pytest.raises(JobError, match="no effect with a header"):
        Csv(path=Path("x"), columns=("a",))
    with pytest.raises(JobError, match="delimiter = '::': expected one character"):
        Csv(path=Path("x"), delimiter="::")


@pytest.mark.parametrize(
    ("first", "offered"), [("age,work", {}), ("39,State-gov", {"header": False}), ("a,a", {"header": False})]
)
def test_a_first_row_that_looks_like_data_is_asked_about(first: str, offered: dict, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{first}\n1,2\n")
    assert Csv(path=tmp_path / "t.csv").questions() == offered


def test_a_folder_and_several_files_are_told_as_paths(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n")
    with pytest.raises(DataError, match=rf"data: {tmp_path} is a folder, expected a file: t\.csv"):
        Csv(path=tmp_path).read()
    with pytest.raises(DataError) as caught:
        Csv(path=(tmp_path / "t.csv", tmp_path / "gone.csv")).read()
    assert "Path(" not in str(caught.value)
