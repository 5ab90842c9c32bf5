"""Energy of a request: modelled, measured, and the idle time of machines that are paid for."""

from dataclasses import replace

import pytest

from farthing import plugins
from farthing.meters.base import Meter
from farthing.pricing import Tariff, Usage, demand_of, energy_meter, price, read_tariff
from farthing.results import Device
from farthing.testing.meters import RoundWatts
from farthing.testing.price_sources import FixedPrices
from farthing.types import Prices, Traffic

IDLE_W, BUSY_W = 1.0, 4.0  # per core: those of RoundWatts
DEMAND = demand_of(Traffic(scenario="server", rate_per_s=8.0))


@pytest.fixture
def share(device: Device) -> Tariff:
    return replace(read_tariff(Prices(usd_per_hour=1.0), device), energy_model=RoundWatts())


@pytest.fixture
def whole(share: Tariff) -> Tariff:
    return replace(share, prices=Prices(usd_per_hour=1.0, mode="whole_machines"))


def test_a_share_pays_for_busy_cores_only(share: Tariff, usage: Usage) -> None:
    cost = price(usage, DEMAND, share)
    assert cost.joules_per_million == pytest.approx(1e6 * 0.01 * 2 * BUSY_W)
    assert cost.grams_co2e_per_million == pytest.approx(1e6 * 0.01 * 2 * BUSY_W / 3.6e6 * 445.0)
    assert cost.energy_source.startswith("modelled, not measured")


def test_whole_machines_pay_for_idle_ones_too(whole: Tariff, usage: Usage) -> None:
    machine_s = 1 / 8.0  # one machine, 8 requests a second
    expected = 1e6 * (2 * IDLE_W * machine_s + (BUSY_W - IDLE_W) * 2 * 0.01)
    assert price(usage, DEMAND, whole).joules_per_million == pytest.approx(expected)


def test_measured_joules_stay_and_only_idle_time_is_modelled(share: Tariff, whole: Tariff, usage: Usage) -> None:
    measured = replace(usage, joules=0.05, joules_source="measured by a sensor")
    cost = price(measured, DEMAND, share)
    assert (cost.joules_per_million, cost.energy_source) == (pytest.approx(5e4), "measured by a sensor")
    cost = price(measured, DEMAND, whole)
    assert cost.joules_per_million == pytest.approx(5e4 + 1e6 * 2 * IDLE_W * (1 / 8.0 - 0.01))
    assert cost.energy_source.startswith("measured by a sensor; idle time modelled")


def test_a_larger_machine_idles_with_all_its_cores(device: Device, source: FixedPrices, usage: Usage) -> None:
    prices = Prices(mode="whole_machines", sku="c1.large", menu=("c1.xlarge",), headroom=0.0)
    tariff = replace(read_tariff(prices, device, source), energy_model=RoundWatts())
    busy = demand_of(Traffic(scenario="server", rate_per_s=100.0))  # more than one large carries, so one xlarge
    cost = price(usage, busy, tariff)
    assert cost.machine == "1 x c1.xlarge"
    assert cost.joules_per_million == pytest.approx(1e6 * (4 * IDLE_W / 100.0 + (BUSY_W - IDLE_W) * 2 * 0.01))


def test_without_any_meter_nothing_is_said(share: Tariff, usage: Usage) -> None:
    cost = price(usage, DEMAND, replace(share, energy_model=None))
    assert (cost.joules_per_million, cost.grams_co2e_per_million, cost.energy_source) == (None, None, "")


class Sensor(RoundWatts):
    measured = True


class Blind(Sensor):
    @classmethod
    def available(cls, device: Device) -> bool:
        return False


@pytest.mark.parametrize(
    ("members", "sensors", "expected"),
    [
        ({"a": RoundWatts, "b": Sensor}, True, Sensor),
        ({"a": Sensor, "b": RoundWatts}, False, RoundWatts),
        ({"a": RoundWatts, "b": Blind}, True, RoundWatts),
        ({"a": Blind}, True, type(None)),
        ({}, True, type(None)),
    ],
)
def test_a_sensor_that_can_be_read_goes_before_a_model(
    members: dict[str, type[Meter]], sensors: bool, expected: type, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "names", lambda kind: tuple(members))
    monkeypatch.setattr(plugins, "load", lambda kind, name: members[name])
    assert type(energy_meter(device, sensors=sensors)) is expected
