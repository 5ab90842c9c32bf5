"""Energy of a request: modelled, measured, and the idle time of machines that are paid for."""

from dataclasses import replace
from pathlib import Path

import pytest

from farthing.meters.rapl import Rapl
from farthing.pricing import Usage, demand_of, energy_meter, price, read_tariff
from farthing.testing.meters import write_powercap
from farthing.types import Device, Prices, Traffic

IDLE_W, BUSY_W = 0.767, 3.758  # per vCPU, Ice Lake: the shipped table
DEMAND = demand_of(Traffic(scenario="server", rate_per_s=8.0))


def test_a_share_pays_for_busy_cores_only(device: Device, usage: Usage) -> None:
    cost = price(usage, DEMAND, read_tariff(Prices(usd_per_hour=1.0), device))
    assert cost.joules_per_million == pytest.approx(1e6 * 0.01 * 2 * BUSY_W)
    assert cost.grams_co2e_per_million == pytest.approx(1e6 * 0.01 * 2 * BUSY_W / 3.6e6 * 445.0)
    assert cost.energy_source.startswith("modelled, not measured") and "Ice Lake" in cost.energy_source


def test_whole_machines_pay_for_idle_ones_too(device: Device, usage: Usage) -> None:
    cost = price(usage, DEMAND, read_tariff(Prices(usd_per_hour=1.0, mode="whole_machines"), device))
    machine_s = 1 / 8.0  # one machine, 8 requests a second
    assert cost.joules_per_million == pytest.approx(1e6 * (2 * IDLE_W * machine_s + (BUSY_W - IDLE_W) * 2 * 0.01))


def test_measured_joules_stay_and_only_idle_time_is_modelled(device: Device, usage: Usage) -> None:
    measured = replace(usage, joules=0.05, joules_source="measured by RAPL")
    share = price(measured, DEMAND, read_tariff(Prices(usd_per_hour=1.0), device))
    assert share.joules_per_million == pytest.approx(5e4)
    assert share.energy_source == "measured by RAPL"
    whole = price(measured, DEMAND, read_tariff(Prices(usd_per_hour=1.0, mode="whole_machines"), device))
    assert whole.joules_per_million == pytest.approx(5e4 + 1e6 * 2 * IDLE_W * (1 / 8.0 - 0.01))
    assert whole.energy_source.startswith("measured by RAPL; idle time modelled")


def test_a_larger_machine_idles_with_all_its_cores(device: Device, usage: Usage) -> None:
    prices = Prices(mode="whole_machines", sku="c6i.large", menu=("c6i.xlarge",), headroom=0.0)
    busy = demand_of(Traffic(scenario="server", rate_per_s=100.0))  # more than one large carries, so one xlarge
    cost = price(usage, busy, read_tariff(prices, device))
    assert cost.machine == "1 x c6i.xlarge"
    assert cost.joules_per_million == pytest.approx(1e6 * (4 * IDLE_W / 100.0 + (BUSY_W - IDLE_W) * 2 * 0.01))


def test_a_sensor_goes_before_the_model(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farthing.meters.rapl.ROOT", tmp_path)
    model = energy_meter(device)
    assert model is not None and not model.measured
    write_powercap(tmp_path, {"intel-rapl:0 package-0": 1})
    monkeypatch.setattr(Rapl, "__init__", lambda self: None)
    sensor, again = energy_meter(device), energy_meter(device, sensors=False)
    assert sensor is not None and sensor.measured
    assert again is not None and not again.measured


def test_no_meter_reads_an_unknown_accelerator(device: Device) -> None:
    assert energy_meter(replace(device, kind="cuda")) is None
