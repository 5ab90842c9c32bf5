"""The published ceilings are fit to ship: positive, dated, sourced, and no family stands twice."""

import csv
from datetime import date
from importlib.resources import files

import pytest

ROWS = list(csv.DictReader(files("farthing.pricing").joinpath("ceilings.csv").read_text().splitlines()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["family"])
def test_row(row: dict[str, str]) -> None:
    peaks = [float(row[f"{precision}_flops_per_s"]) for precision in ("float32", "half", "int8")]
    assert 1e12 < peaks[0] < peaks[1] < peaks[2] < 1e16
    assert 1e11 < float(row["memory_bytes_per_s"]) < 1e13
    assert date(2024, 1, 1) <= date.fromisoformat(row["observed"]) <= date.today()
    assert row["source"]


def test_no_family_stands_twice() -> None:
    assert len({row["family"] for row in ROWS}) == len(ROWS)
