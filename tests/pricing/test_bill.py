"""price(): shares and whole machines against hand calculations, and the laws that every bill keeps."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.errors import PriceError
from farthing.pricing import Demand, Tariff, Usage, demand_of, left_out, price, read_tariff
from farthing.pricing.bill import sizes
from farthing.pricing.machines import fleets
from farthing.pricing.prediction import Machine
from farthing.results import Cost, Device
from farthing.testing.price_sources import FixedPrices
from farthing.types import Prices, Traffic
from farthing.units import from_gib

MENU = ("c1.xlarge", "c1.4xlarge")
WHOLE = Prices(mode="whole_machines", sku="c1.large", menu=MENU, headroom=0.2)
SHARE = Prices(mode="share", sku="c1.large")


def server(rate_per_s: float) -> Demand:
    return demand_of(Traffic(scenario="server", rate_per_s=rate_per_s))


def test_a_share_by_hand(device: Device, source: FixedPrices, usage: Usage) -> None:
    cost = price(usage, server(10.0), read_tariff(Prices(usd_per_hour=0.36), device, source))
    ratio = 0.004445 / 0.04048
    usd_per_vcpu_s = 0.0001 / (2 + ratio * 4)
    assert cost.usd_per_million == pytest.approx(1e4 * (2 * usd_per_vcpu_s + 1 * ratio * usd_per_vcpu_s))
    assert [(line.unit, line.quantity) for line in cost.lines] == [("vCPU-second", 2e4), ("GiB-second", pytest.approx(1e4))]
    assert cost.usd_per_month == pytest.approx(cost.usd_per_million * 10 * 730 * 3600 / 1e6)
    assert 0.0 < cost.num_machines < 0.1 and not cost.predicted


def test_more_threads_than_cores_hold_only_the_cores(device: Device, source: FixedPrices, usage: Usage) -> None:
    tariff = read_tariff(SHARE, device, source)
    assert price(replace(usage, vcpus=8), server(1.0), tariff) == price(usage, server(1.0), tariff)


def test_whole_machines_by_hand(device: Device, source: FixedPrices, usage: Usage) -> None:
    """200/s at 80/s a machine with 20% kept free: 64/s each, so 3.125 machines' worth: two of twice the size."""
    cost = price(usage, server(200.0), read_tariff(WHOLE, device, source))
    assert (cost.machine, cost.num_machines) == ("2 x c1.xlarge", 2.0)
    assert cost.usd_per_month == pytest.approx(2 * 0.17 * 730)
    (line,) = cost.lines
    assert (line.sku, line.unit, line.usd_per_unit) == ("c1.xlarge", "machine-hour", 0.17)
    assert line.quantity == pytest.approx(2 * 730 / (200 * 730 * 3600 / 1e6))
    assert line.observed_at == "2024-02-21" and line.source == "a test"
    assert cost.predicted, "an xlarge was not measured"


def test_only_a_bill_of_other_machines_is_predicted(device: Device, source: FixedPrices, usage: Usage) -> None:
    tariff = read_tariff(WHOLE, device, source)
    assert not price(usage, server(60.0), tariff).predicted
    assert price(replace(usage, predicted=True), server(60.0), tariff).predicted


def test_spares_are_paid_for(device: Device, source: FixedPrices, usage: Usage) -> None:
    one = price(usage, server(60.0), read_tariff(replace(WHOLE, menu=()), device, source))
    two = price(usage, server(60.0), read_tariff(replace(WHOLE, menu=(), spare_machines=1), device, source))
    assert (one.num_machines, two.num_machines) == (1.0, 2.0)
    assert two.usd_per_million == pytest.approx(2 * one.usd_per_million)


def test_machines_of_an_offline_run_are_rented_while_it_lasts(device: Device, source: FixedPrices, usage: Usage) -> None:
    demand = demand_of(Traffic(scenario="offline", num_items=288_000, deadline_s=3600.0))  # 80/s: two machines at 64/s
    cost = price(usage, demand, read_tariff(replace(WHOLE, menu=()), device, source))
    assert cost.num_machines == 2.0
    assert cost.usd_per_million == pytest.approx(0.085 / 3600 / 80 * 1e6), "both at work, none idle"


def test_a_single_stream_keeps_one_machine(device: Device, source: FixedPrices, usage: Usage) -> None:
    cost = price(usage, demand_of(Traffic(scenario="single_stream")), read_tariff(WHOLE, device, source))
    assert (cost.machine, cost.usd_per_month) == ("1 x c1.large", pytest.approx(0.085 * 730))
    assert cost.usd_per_million == pytest.approx(0.085 / 3600 / 80 * 1e6)


def test_an_accelerator_is_billed_by_its_seconds(device: Device, source: FixedPrices, usage: Usage) -> None:
    tariff = read_tariff(Prices(sku="g4dn.12xlarge"), replace(device, kind="cuda", name="T4"), source)
    cost = price(usage, server(1.0), tariff)
    assert cost.usd_per_million == pytest.approx(1e4 * 4.0 / 4 / 3600)
    assert [line.unit for line in cost.lines] == ["accelerator-second"]


def test_what_does_not_fit_into_memory_is_left_out(device: Device, source: FixedPrices, usage: Usage) -> None:
    tariff = read_tariff(Prices(usd_per_hour=0.1, sku="c1.large", menu=("c1.xlarge",), mode="whole_machines"), device, source)
    hungry = replace(usage, peak_bytes=from_gib(4.5))  # measured by paging, or on a machine with more memory than the SKU's
    assert left_out(usage, tariff) == ()
    assert left_out(hungry, tariff) == (("c1.xlarge", "2 x 4.5 GiB do not fit into its 8 GiB"),)
    assert price(hungry, server(500.0), tariff).num_machines == 8.0


def test_a_deployment_that_carries_nothing_has_no_price(device: Device, source: FixedPrices, usage: Usage) -> None:
    with pytest.raises(PriceError, match="carries 0 requests/s"):
        price(replace(usage, capacity_per_s=0.0), server(1.0), read_tariff(WHOLE, device, source))


def test_sizes_of_a_family_carry_exact_multiples(device: Device, source: FixedPrices, usage: Usage) -> None:
    """Else fleets that differ in nothing would differ by rounding, and the search among them would not end in time."""
    tariff = read_tariff(replace(WHOLE, menu=("c1.xlarge", "c1.2xlarge", "c1.4xlarge")), device, source)
    menu = sizes(replace(usage, capacity_per_s=1 / 0.8097), tariff)
    steps = list(fleets(menu, 400.0))
    assert len(steps) == round(400.0 / menu[0].capacity_per_s + 0.5), "one step for each machine of the smallest size"


RATES = st.floats(0.01, 2000.0)
BUSY = st.floats(1e-4, 1.0)


def deployment(busy_s: float, headroom_s: float = 0.0) -> Usage:
    return Usage(busy_s=busy_s, vcpus=2, peak_bytes=from_gib(1.0), capacity_per_s=1.0 / (busy_s + headroom_s))


def check_sums(cost: Cost, demand: Demand) -> None:
    assert cost.usd_per_million == pytest.approx(sum(line.usd for line in cost.lines), rel=1e-12)
    assert all(line.usd == pytest.approx(line.quantity * line.usd_per_unit, rel=1e-12) for line in cost.lines)
    assert demand.requests_per_month is not None
    assert cost.usd_per_month == pytest.approx(cost.usd_per_million * demand.requests_per_month / 1e6, rel=1e-9)


def dearer(tariff: Tariff, factor: float) -> Tariff:
    machine = replace(tariff.machine, usd_per_hour=tariff.machine.usd_per_hour * factor)
    return replace(tariff, machine=machine, menu=(Machine(price=machine), *tariff.menu[1:]))


@pytest.fixture(scope="module")
def tariff(device: Device, source: FixedPrices) -> Tariff:
    return read_tariff(WHOLE, device, source)


def variant(tariff: Tariff, **changes: Any) -> Tariff:
    return replace(tariff, prices=replace(tariff.prices, **changes))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rate=RATES, busy_s=BUSY, mode=st.sampled_from(["share", "whole_machines"]), spares=st.integers(0, 2))
def test_the_lines_add_up(tariff: Tariff, rate: float, busy_s: float, mode: str, spares: int) -> None:
    demand = server(min(rate, 100 / busy_s))
    check_sums(price(deployment(busy_s), demand, variant(tariff, mode=mode, spare_machines=spares)), demand)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rate=RATES, busy_s=BUSY, slack_s=st.floats(0.0, 1.0), headroom=st.floats(0.0, 0.9))
def test_whole_machines_never_cost_less_than_their_share(
    tariff: Tariff, rate: float, busy_s: float, slack_s: float, headroom: float
) -> None:
    """As long as a machine cannot carry more than it has time for."""
    usage, demand = deployment(busy_s, slack_s), server(min(rate, 20 / (busy_s + slack_s)))
    share = price(usage, demand, variant(tariff, mode="share")).usd_per_million
    whole = price(usage, demand, variant(tariff, headroom=headroom)).usd_per_million
    assert whole >= share * (1 - 1e-9)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rate=RATES, busy_s=BUSY, factor=st.floats(1.0, 3.0), mode=st.sampled_from(["share", "whole_machines"]))
def test_cost_never_falls_with_busy_time_or_price(tariff: Tariff, rate: float, busy_s: float, factor: float, mode: str) -> None:
    tariff, demand = variant(tariff, mode=mode), server(min(rate, 100 / busy_s))
    base = price(deployment(busy_s), demand, tariff).usd_per_million
    assert price(deployment(busy_s * factor), demand, tariff).usd_per_million >= base * (1 - 1e-9)
    assert price(deployment(busy_s), demand, dearer(tariff, factor)).usd_per_million >= base * (1 - 1e-9)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(rates=st.tuples(RATES, RATES).map(sorted))
def test_a_higher_rate_never_costs_less_a_month(tariff: Tariff, rates: list[float]) -> None:
    low, high = (price(deployment(0.02), server(rate), tariff).usd_per_month for rate in rates)
    assert low <= high * (1 + 1e-12)
