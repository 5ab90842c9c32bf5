"""Break-even, and how far rate and price ratio may move before the choice is no longer the cheapest."""

import math
from dataclasses import replace

import numpy as np
import pytest

from farthing.pricing import (
    Usage,
    break_even,
    cheapest_price_ratios,
    cheapest_rates,
    demand_of,
    price,
    read_tariff,
    search_usd,
)
from farthing.results import Device
from farthing.testing.price_sources import FixedPrices
from farthing.types import Prices, Traffic
from farthing.units import from_gib

SHARE = Prices(usd_per_hour=0.1)
WHOLE = Prices(usd_per_hour=0.1, mode="whole_machines", headroom=0.2)


def server(rate_per_s: float):
    return demand_of(Traffic(scenario="server", rate_per_s=rate_per_s))


def test_a_search_pays_for_itself(device: Device) -> None:
    assert search_usd(1800.0, read_tariff(SHARE, device)) == pytest.approx(0.05)
    assert break_even(0.05, 1e-6) == pytest.approx(50_000)
    assert break_even(0.05, 0.0) is None and break_even(0.05, -1e-6) is None


def test_price_ratio_has_its_breakpoint_where_costs_cross(device: Device, usage: Usage) -> None:
    lean = replace(usage, busy_s=0.012, peak_bytes=from_gib(0.1))  # more core-seconds, fewer GiB-seconds
    tariff = read_tariff(SHARE, device)
    found = cheapest_price_ratios(usage, [lean], tariff)
    assert found is not None
    low, high = found
    core_s, gib_s, lean_core_s, lean_gib_s = 0.02, 0.01, 0.024, 0.0012
    assert (low, high) == (0.0, pytest.approx((lean_core_s - core_s) / (gib_s - lean_gib_s)))
    assert core_s + high * gib_s == pytest.approx(lean_core_s + high * lean_gib_s)


def test_price_ratio_from_below_and_without_limits(device: Device, usage: Usage) -> None:
    tariff = read_tariff(SHARE, device)
    hungry = replace(usage, busy_s=0.0099, peak_bytes=from_gib(3.0))
    found = cheapest_price_ratios(usage, [hungry], tariff)
    assert found is not None and 0.0 < found[0] < 0.1098 and found[1] == math.inf
    assert cheapest_price_ratios(usage, [replace(usage, busy_s=0.02)], tariff) == (0.0, math.inf)
    assert cheapest_price_ratios(usage, [usage], tariff) == (0.0, math.inf), "a tie is no loss"
    assert cheapest_price_ratios(usage, [], tariff) == (0.0, math.inf)


def test_no_range_where_another_is_cheaper_today(device: Device, usage: Usage) -> None:
    tariff = read_tariff(SHARE, device)
    assert cheapest_price_ratios(usage, [replace(usage, busy_s=0.005)], tariff) is None
    assert cheapest_price_ratios(usage, [replace(usage, vcpus=1)], tariff) is None, "as much memory, fewer cores"
    assert cheapest_rates(usage, [replace(usage, busy_s=0.005)], server(1.0), tariff) is None
    whole = read_tariff(WHOLE, device)
    assert cheapest_rates(usage, [replace(usage, capacity_per_s=800.0)], server(100.0), whole) is None


def test_shares_and_runs_do_not_depend_on_the_rate(device: Device, usage: Usage) -> None:
    slower = replace(usage, busy_s=0.02, capacity_per_s=40.0)
    assert cheapest_rates(usage, [slower], server(1.0), read_tariff(SHARE, device)) == (0.0, math.inf)
    run = demand_of(Traffic(scenario="offline", num_items=1000, deadline_s=10.0))
    assert cheapest_rates(usage, [slower], run, read_tariff(WHOLE, device)) == (0.0, math.inf)
    stream = demand_of(Traffic(scenario="single_stream"))
    assert cheapest_rates(usage, [slower], stream, read_tariff(WHOLE, device)) is None


def test_the_faster_stays_cheapest_at_any_rate(device: Device, usage: Usage) -> None:
    slower = replace(usage, capacity_per_s=40.0)
    assert cheapest_rates(usage, [slower], server(200.0), read_tariff(WHOLE, device)) == (0.0, math.inf)


def test_a_tie_ends_where_one_more_machine_is_needed(device: Device, usage: Usage) -> None:
    """Both carry 30/s on one machine; the slower (50/s, 40 with headroom) needs its second machine first."""
    slower = replace(usage, capacity_per_s=50.0)
    assert cheapest_rates(slower, [usage], server(30.0), read_tariff(WHOLE, device)) == (0.0, pytest.approx(40.0))


def test_nothing_is_claimed_beyond_what_was_compared(device: Device, usage: Usage) -> None:
    nearly = replace(usage, capacity_per_s=79.9)
    found = cheapest_rates(usage, [nearly], server(1.0), read_tariff(WHOLE, device))
    assert found == (0.0, pytest.approx(10.0))


@pytest.mark.parametrize("rate_per_s", [35.0, 70.0, 150.0, 333.0])
def test_rates_agree_with_pricing_each_of_them(device: Device, source: FixedPrices, usage: Usage, rate_per_s: float) -> None:
    """The menus differ in what fits, so that the cheaper of the two changes with the rate."""
    prices = Prices(mode="whole_machines", sku="c1.large", menu=("c1.xlarge", "c1.2xlarge"), spare_machines=1, headroom=0.1)
    tariff = read_tariff(prices, device, source)
    one, two = replace(usage, capacity_per_s=53.0), replace(usage, capacity_per_s=50.0)

    def usd(usage: Usage, rate: float) -> float:
        return price(usage, server(rate), tariff).usd_per_month

    for chosen, other in ((one, two), (two, one)):
        found = cheapest_rates(chosen, [other], server(rate_per_s), tariff)
        wins = usd(chosen, rate_per_s) <= usd(other, rate_per_s)
        assert (found is not None) == wins
        if found is None:
            continue
        low, high = found
        top = min(high, rate_per_s * 10)
        assert all(usd(chosen, r) <= usd(other, r) for r in np.linspace(low, top, 40)[1:])
        if high < rate_per_s * 10:
            assert usd(chosen, high * 1.0001) > usd(other, high * 1.0001)
        if low > 0.0:
            assert usd(chosen, low) > usd(other, low)
