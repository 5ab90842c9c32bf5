"""Machines that were not measured: copies within a family, published ceilings, or no prediction."""

import csv
from importlib.resources import files

import pytest

from farthing.price_sources.snapshot import Snapshot
from farthing.pricing.prediction import Machine, family, predict
from farthing.types import UnitPrice

PRICES = {price.sku: price for price in Snapshot().prices(spot=False)}


@pytest.mark.parametrize(
    ("sku", "expected"),
    [
        ("c6i.4xlarge", "c6i"),
        ("n2-standard-16", "n2-standard"),
        ("a2-highgpu-1g", "a2-highgpu"),
        ("Standard_F16s_v2", "Standard_Fs_v2"),
        ("Standard_NC4as_T4_v3", "Standard_NCas_T4_v3"),
        ("gpu_1x_a10", "gpu_1x_a10"),
    ],
)
def test_family_is_the_name_without_the_size(sku: str, expected: str) -> None:
    assert family(sku) == expected


def test_a_family_scales_by_copies() -> None:
    found = predict(PRICES["c6i.4xlarge"], PRICES["c6i.xlarge"], "cpu")
    assert isinstance(found, Machine)
    assert (found.copies, found.speed, found.model) == (4, 4.0, "4 x c6i.xlarge, same family")
    uneven = predict(PRICES["c3-highcpu-22"], PRICES["c3-highcpu-4"], "cpu")
    assert isinstance(uneven, Machine) and uneven.copies == 5, "22 vCPUs hold five copies of 4, not five and a half"


@pytest.mark.parametrize(
    ("target", "measured", "kind", "reason"),
    [
        ("c6i.large", "c6i.xlarge", "cpu", "it has 2 vCPUs, the measured c6i.xlarge has 4"),
        ("c7i.xlarge", "c6i.xlarge", "cpu", "not of the family of c6i.xlarge"),
        ("g5.xlarge", "g4dn.xlarge", "cuda", "no published ceilings of both"),
        ("c6i.large", "g4dn.xlarge", "cuda", "it has 0 accelerators"),
    ],
)
def test_no_model_no_prediction(target: str, measured: str, kind: str, reason: str) -> None:
    found = predict(PRICES[target], PRICES[measured], kind)
    assert isinstance(found, str) and reason in found


def test_accelerators_scale_by_their_least_published_ratio() -> None:
    found = predict(PRICES["g2-standard-4"], PRICES["g4dn.xlarge"], "cuda")
    assert isinstance(found, Machine)
    assert found.speed == pytest.approx(300 / 320), "an L4 has more flop/s than a T4, but less bandwidth"
    eight = predict(PRICES["p4d.24xlarge"], PRICES["g4dn.xlarge"], "cuda")
    assert isinstance(eight, Machine) and eight.copies == 8
    assert eight.speed == pytest.approx(8 * 19.5 / 8.14)


def test_a_machine_predicts_itself() -> None:
    for sku in ("c6i.large", "Standard_F8s_v2"):
        found = predict(PRICES[sku], PRICES[sku], "cpu")
        assert isinstance(found, Machine) and found.speed == 1.0


def test_every_ceiling_is_of_a_machine_in_the_table() -> None:
    rows = list(csv.DictReader(files("farthing.pricing").joinpath("ceilings.csv").read_text().splitlines()))
    machines: dict[str, UnitPrice] = {family(sku): price for sku, price in PRICES.items()}
    for row in rows:
        assert machines[row["family"]].accelerator == row["accelerator"]
