"""The laws of a meter, a meter of round numbers, and a powercap tree that replays counters, for tests here and elsewhere."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from farthing.meters.base import Meter
from farthing.results import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundWatts(Meter):
    """A model of `idle_w` a core at rest and `busy_w` a core at work."""

    measured: ClassVar[bool] = False
    idle_w: float = 1.0
    busy_w: float = 4.0

    @classmethod
    def available(cls, device: Device) -> bool:
        return True

    def energy_j(self, device: Device, *, busy_core_s: float, elapsed_s: float) -> float:
        return self.idle_w * device.num_cores * elapsed_s + (self.busy_w - self.idle_w) * busy_core_s

    def describe(self, device: Device) -> str:
        return f"modelled, not measured: {self.idle_w:g} W idle, {self.busy_w:g} W busy per core"


def check_meter(meter: Meter, device: Device) -> None:
    """Energy is finite, never negative, never decreases; `describe` says whether a sensor stands behind it."""
    work = [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (2.0, 2.0), (2.0, 50.0)]
    readings = [meter.energy_j(device, busy_core_s=busy, elapsed_s=elapsed) for busy, elapsed in work]
    assert all(math.isfinite(joules) and joules >= 0.0 for joules in readings), readings
    assert readings == sorted(readings), f"energy fell: {readings}"
    assert meter.describe(device).startswith("measured" if meter.measured else "modelled"), meter.describe(device)
    if not meter.measured:
        one, two = (meter.energy_j(device, busy_core_s=n, elapsed_s=3 * n) for n in (1.0, 2.0))
        assert math.isclose(two, 2 * one, rel_tol=1e-9), f"twice the work took {two} J, once {one} J"


def write_powercap(root: Path, counters_uj: Mapping[str, int], *, range_uj: int = 262_143_328_850) -> None:
    """Write (or move on) a tree of powercap zones: zone directory and name -> counter, as in {"intel-rapl:0 package-0": 17}."""
    for zone, counter_uj in counters_uj.items():
        directory, _, name = zone.partition(" ")
        (root / directory).mkdir(parents=True, exist_ok=True)
        facts = {"name": name, "energy_uj": counter_uj, "max_energy_range_uj": range_uj}
        for file, value in facts.items():
            (root / directory / file).write_text(f"{value}\n")
