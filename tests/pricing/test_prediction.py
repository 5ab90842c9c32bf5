"""Machines that were not measured: copies within a family, published ceilings, or no prediction."""

import pytest

from farthing.pricing.prediction import Machine, family, predict
from farthing.results import UnitPrice
from farthing.testing.price_sources import FixedPrices


@pytest.fixture
def prices(source: FixedPrices) -> dict[str, UnitPrice]:
    return {price.sku: price for price in source.prices(spot=False)}


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


def test_a_family_scales_by_copies(prices: dict[str, UnitPrice]) -> None:
    found = predict(prices["c1.4xlarge"], prices["c1.xlarge"], "cpu")
    assert isinstance(found, Machine)
    assert (found.copies, found.speed, found.model) == (4, 4.0, "4 x c1.xlarge, same family")
    uneven = predict(prices["highcpu-22"], prices["highcpu-4"], "cpu")
    assert isinstance(uneven, Machine) and uneven.copies == 5, "22 vCPUs hold five copies of 4, not five and a half"


@pytest.mark.parametrize(
    ("target", "measured", "kind", "reason"),
    [
        ("c1.large", "c1.xlarge", "cpu", "it has 2 vCPUs, the measured c1.xlarge has 4"),
        ("c2.large", "c1.large", "cpu", "not of the family of c1.large"),
        ("g9.xlarge", "g4dn.xlarge", "cuda", "no published ceilings of both"),
        ("c1.large", "g4dn.xlarge", "cuda", "it has 0 accelerators"),
    ],
)
def test_no_model_no_prediction(prices: dict[str, UnitPrice], target: str, measured: str, kind: str, reason: str) -> None:
    found = predict(prices[target], prices[measured], kind)
    assert isinstance(found, str) and reason in found


def test_accelerators_scale_by_their_least_published_ratio(prices: dict[str, UnitPrice]) -> None:
    found = predict(prices["g2-standard-4"], prices["g4dn.xlarge"], "cuda")
    assert isinstance(found, Machine)
    assert found.speed == pytest.approx(300 / 320), "an L4 has more flop/s than a T4, but less bandwidth"
    eight = predict(prices["p4d.24xlarge"], prices["g4dn.xlarge"], "cuda")
    assert isinstance(eight, Machine) and eight.copies == 8
    assert eight.speed == pytest.approx(8 * 19.5 / 8.14)


def test_a_machine_predicts_itself(prices: dict[str, UnitPrice]) -> None:
    for sku in ("c1.large", "highcpu-22"):
        found = predict(prices[sku], prices[sku], "cpu")
        assert isinstance(found, Machine) and found.speed == 1.0
