"""RAPL counters replayed from a recorded tree: sums, wraparound, zones that overlap."""

from pathlib import Path

import pytest

from farthing.meters.rapl import Rapl
from farthing.results import Device
from farthing.testing.meters import check_meter, write_powercap

DEVICE = Device(name="Intel Xeon Gold 6248", kind="cpu", num_cores=2, memory_bytes=8e9, flops_per_s={}, bytes_per_s=0.0)
ZONES = ("intel-rapl:0 package-0", "intel-rapl:0:0 core", "intel-rapl:0:1 dram", "intel-rapl:1 package-1", "intel-rapl:2 psys")


def read(meter: Rapl) -> float:
    return meter.energy_j(DEVICE, busy_core_s=0.0, elapsed_s=0.0)


def test_packages_and_memory_count_once(tmp_path: Path) -> None:
    write_powercap(tmp_path, dict.fromkeys(ZONES, 5_000_000))
    meter = Rapl(root=tmp_path)
    assert read(meter) == 0.0
    write_powercap(tmp_path, dict(zip(ZONES, (7_000_000, 900_000_000, 5_500_000, 6_000_000, 800_000_000), strict=True)))
    assert read(meter) == pytest.approx(2.0 + 0.5 + 1.0)
    assert meter.describe(DEVICE).startswith("measured by RAPL (package-0, dram, package-1;")


def test_a_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    zone = "intel-rapl:0 package-0"
    write_powercap(tmp_path, {zone: 90}, range_uj=100)
    meter = Rapl(root=tmp_path)
    readings = []
    for counter in (95, 10, 60, 5):  # microjoules: +5, +15 over the wrap, +50, +45 over the next
        write_powercap(tmp_path, {zone: counter}, range_uj=100)
        readings.append(read(meter) * 1e6)
    assert readings == pytest.approx([5, 20, 70, 115])


def test_contract_on_a_recorded_tree(tmp_path: Path) -> None:
    write_powercap(tmp_path, {"intel-rapl:0 package-0": 1})
    check_meter(Rapl(root=tmp_path), DEVICE)


def test_not_available_without_counters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farthing.meters.rapl.ROOT", tmp_path)
    assert not Rapl.available(DEVICE)
    write_powercap(tmp_path, {"intel-rapl:0 package-0": 1})
    assert Rapl.available(DEVICE)
