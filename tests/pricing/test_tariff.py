"""Unit prices: where they come from, how a machine's price is split, and every way in which they cannot be used."""

from dataclasses import replace

import pytest

from farthing.errors import PriceError
from farthing.pricing import read_tariff
from farthing.pricing.tariff import GIB_PER_VCPU_PRICE
from farthing.types import Device, MemberRef, Prices
from farthing.units import SECONDS_PER_HOUR


def test_the_parts_of_a_machine_cost_what_it_costs(device: Device) -> None:
    found = read_tariff(Prices(sku="c6i.large"), device)
    parts_usd = SECONDS_PER_HOUR * (2.0 * found.usd_per_vcpu_s + 4.0 * found.usd_per_gib_s)
    assert parts_usd == pytest.approx(0.085, rel=1e-12)
    assert found.usd_per_gib_s == pytest.approx(GIB_PER_VCPU_PRICE * found.usd_per_vcpu_s)


def test_a_price_given_in_the_job_says_so(device: Device) -> None:
    machine = read_tariff(Prices(usd_per_hour=0.5), device).machine
    assert (machine.usd_per_hour, machine.vcpus, machine.memory_gib) == (0.5, 2, 4.0)
    assert machine.source == "given in the job"


def test_a_given_price_overrides_the_table_s(device: Device) -> None:
    found = read_tariff(Prices(usd_per_hour=0.07, sku="c6i.large", menu=("c6i.xlarge",), mode="whole_machines"), device)
    assert found.machine.usd_per_hour == 0.07
    assert [(m.price.sku, m.speed) for m in found.menu] == [("c6i.large", 1.0), ("c6i.xlarge", 2.0)]


@pytest.mark.parametrize("usd_per_hour", [0.0, -1.0, float("nan"), float("inf")])
def test_a_price_that_is_not_positive_is_refused(device: Device, usd_per_hour: float) -> None:
    with pytest.raises(PriceError, match=r"prices\.usd_per_hour = .* must be a positive number"):
        read_tariff(Prices(usd_per_hour=usd_per_hour), device)


def test_no_price_at_all_is_refused(device: Device) -> None:
    with pytest.raises(PriceError, match="neither usd_per_hour nor sku"):
        read_tariff(Prices(), device)


def test_an_unknown_sku_names_the_nearest(device: Device) -> None:
    with pytest.raises(PriceError, match=r"snapshot has no machine 'c6i\.larg'\. Did you mean 'c6i\.large'\?"):
        read_tariff(Prices(sku="c6i.larg"), device)
    with pytest.raises(PriceError, match=r"no machine 'c6i\.xlarg'"):
        read_tariff(Prices(usd_per_hour=1.0, menu=("c6i.xlarg",)), device)


def test_a_missing_spot_price_is_not_an_unknown_machine(device: Device) -> None:
    with pytest.raises(PriceError, match=r"no spot price of 'gpu_1x_a10': set prices\.spot = false"):
        read_tariff(Prices(sku="gpu_1x_a10", spot=True), replace(device, kind="cuda", name="A10"))
    assert read_tariff(Prices(sku="c6i.large", spot=True), device).machine.usd_per_hour == 0.0363


def test_whole_machines_are_priced_at_their_own_size(device: Device) -> None:
    with pytest.raises(PriceError, match=r"'c6i\.4xlarge' has 16 vCPUs, the measured machine 2: name a SKU of this size"):
        read_tariff(Prices(sku="c6i.4xlarge", mode="whole_machines"), device)
    assert read_tariff(Prices(sku="c6i.4xlarge", mode="share"), device).machine.vcpus == 16.0


def test_an_accelerator_needs_a_machine_with_one(device: Device) -> None:
    with pytest.raises(PriceError, match="has no accelerator, the measured machine is a T4"):
        read_tariff(Prices(sku="c6i.large"), replace(device, kind="cuda", name="T4"))
    found = read_tariff(Prices(sku="g4dn.12xlarge"), replace(device, kind="cuda", name="T4"))
    assert found.usd_per_accelerator_s == pytest.approx(3.912 / 4 / SECONDS_PER_HOUR)


def test_a_menu_leaves_out_what_cannot_be_predicted_with_the_reason(device: Device) -> None:
    prices = Prices(sku="c6i.large", mode="whole_machines", menu=("c6i.large", "c6i.2xlarge", "c7i.large", "c6i.2xlarge"))
    found = read_tariff(prices, device)
    assert [m.price.sku for m in found.menu] == ["c6i.large", "c6i.2xlarge"]
    ((sku, reason),) = found.left_out
    assert sku == "c7i.large" and "not of the family of c6i.large" in reason


def test_another_table_is_read_by_its_member(device: Device, tmp_path) -> None:
    path = tmp_path / "vms.csv"
    path.write_text(
        "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone\n"
        "own.small,,,2,4,,0.033,,here,here-a\n"
    )
    source = MemberRef(name="skypilot", knobs=(("path", str(path)), ("observed", "2026-01-31")))
    machine = read_tariff(Prices(sku="own.small", source=source), device).machine
    assert (machine.usd_per_hour, machine.observed_at, machine.source) == (0.033, "2026-01-31", f"{path}, here-a")
