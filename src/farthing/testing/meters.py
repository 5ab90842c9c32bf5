"""The laws of a meter, and a powercap tree that replays recorded counters, for tests here and of other packages."""

import math
from collections.abc import Mapping
from pathlib import Path

from farthing.meters.base import Meter
from farthing.types import Device


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
