"""The shipped power coefficients are fit to ship: positive, busy above idle, sourced, and no name fits two rows."""

import csv
import re
from datetime import date
from importlib.resources import files

import pytest

ROWS = list(csv.DictReader(files("farthing.meters").joinpath("watts.csv").read_text().splitlines()))
PROCESSORS = (
    "Xeon(R) Gold 6148",
    "Xeon(R) Platinum 8259CL",
    "Xeon(R) Platinum 8375C",
    "Xeon(R) 6975P-C",
    "EPYC 7571",
    "EPYC 9R14",
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["architecture"])
def test_row(row: dict[str, str]) -> None:
    assert 0 < float(row["idle_watts_per_vcpu"]) < float(row["busy_watts_per_vcpu"]) < 10
    assert date(2024, 1, 1) <= date.fromisoformat(row["observed"]) <= date.today()
    assert "@" in row["source"], "a source names a revision"
    re.compile(row["names"])


@pytest.mark.parametrize("processor", PROCESSORS)
def test_a_name_fits_one_row(processor: str) -> None:
    assert len([row for row in ROWS if re.search(row["names"], processor)]) == 1
