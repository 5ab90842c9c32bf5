"""Unit prices: where they come from, how a machine's price is split, and every way in which they cannot be used."""

from dataclasses import replace

import pytest

from farthing.errors import PriceError
from farthing.pricing import read_tariff
from farthing.pricing.tariff import GIB_PER_VCPU_PRICE
from farthing.results import Device
from farthing.testing.price_sources import FixedPrices
from farthing.types import Prices
from farthing.units import SECONDS_PER_HOUR


def test_the_parts_of_a_machine_cost_what_it_costs(device: Device, source: FixedPrices) -> None:
    found = read_tariff(Prices(sku="c1.large"), device, source)
    parts_usd = SECONDS_PER_HOUR * (2.0 * found.usd_per_vcpu_s + 4.0 * found.usd_per_gib_s)
    assert parts_usd == pytest.approx(0.085, rel=1e-12)
    assert found.usd_per_gib_s == pytest.approx(GIB_PER_VCPU_PRICE * found.usd_per_vcpu_s)


def test_a_price_given_in_the_job_says_so(device: Device, source: FixedPrices) -> None:
    machine = read_tariff(Prices(usd_per_hour=0.5), device).machine
    assert (machine.usd_per_hour, machine.vcpus, machine.memory_gib) == (0.5, 2, 4.0)
    assert machine.source == "given in the job"


def test_a_given_price_overrides_the_table_s(device: Device, source: FixedPrices) -> None:
    found = read_tariff(Prices(usd_per_hour=0.07, sku="c1.large", menu=("c1.xlarge",), mode="whole_machines"), device, source)
    assert found.machine.usd_per_hour == 0.07
    assert [(m.price.sku, m.speed) for m in found.menu] == [("c1.large", 1.0), ("c1.xlarge", 2.0)]


@pytest.mark.parametrize("usd_per_hour", [0.0, -1.0, float("nan"), float("inf")])
def test_a_price_that_is_not_positive_is_refused(device: Device, source: FixedPrices, usd_per_hour: float) -> None:
    with pytest.raises(PriceError, match=r"prices\.usd_per_hour = .* must be a positive number"):
        read_tariff(Prices(usd_per_hour=usd_per_hour), device)


def test_no_price_at_all_is_refused(device: Device, source: FixedPrices) -> None:
    with pytest.raises(PriceError, match="neither usd_per_hour nor sku"):
        read_tariff(Prices(), device)


def test_an_unknown_sku_names_the_nearest(device: Device, source: FixedPrices) -> None:
    with pytest.raises(PriceError, match=r".* has no machine 'c1\.larg'\. Did you mean 'c1\.large'\?"):
        read_tariff(Prices(sku="c1.larg"), device, source)
    with pytest.raises(PriceError, match=r"no machine 'c1\.xlarg'"):
        read_tariff(Prices(usd_per_hour=1.0, menu=("c1.xlarg",)), device, source)


def test_a_missing_spot_price_is_not_an_unknown_machine(device: Device, source: FixedPrices) -> None:
    with pytest.raises(PriceError, match=r"no spot price of 'c1\.xlarge': set prices\.spot = false"):
        read_tariff(Prices(sku="c1.xlarge", spot=True), device, source)
    assert read_tariff(Prices(sku="c1.large", spot=True), device, source).machine.usd_per_hour == 0.04


def test_whole_machines_are_priced_at_their_own_size(device: Device, source: FixedPrices) -> None:
    with pytest.raises(PriceError, match=r"'c1\.4xlarge' has 16 vCPUs, the measured machine 2: name a SKU of this size"):
        read_tariff(Prices(sku="c1.4xlarge", mode="whole_machines"), device, source)
    assert read_tariff(Prices(sku="c1.4xlarge", mode="share"), device, source).machine.vcpus == 16.0


def test_an_accelerator_needs_a_machine_with_one(device: Device, source: FixedPrices) -> None:
    with pytest.raises(PriceError, match="has no accelerator, the measured machine is a T4"):
        read_tariff(Prices(sku="c1.large"), replace(device, kind="cuda", name="T4"), source)
    found = read_tariff(Prices(sku="g4dn.12xlarge"), replace(device, kind="cuda", name="T4"), source)
    assert found.usd_per_accelerator_s == pytest.approx(4.0 / 4 / SECONDS_PER_HOUR)


def test_a_menu_leaves_out_what_cannot_be_predicted_with_the_reason(device: Device, source: FixedPrices) -> None:
    prices = Prices(sku="c1.large", mode="whole_machines", menu=("c1.large", "c1.2xlarge", "c2.large", "c1.2xlarge"))
    found = read_tariff(prices, device, source)
    assert [m.price.sku for m in found.menu] == ["c1.large", "c1.2xlarge"]
    ((sku, reason),) = found.left_out
    assert sku == "c2.large" and "not of the family of c1.large" in reason


def test_a_machine_is_looked_up_in_a_source_or_not_at_all(device: Device, source: FixedPrices) -> None:
    with pytest.raises(PriceError, match="no source to look it up in: give prices"):
        read_tariff(Prices(sku="c1.large"), device)
