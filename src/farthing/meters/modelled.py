"""Models energy where no sensor can be read: idle and busy watts per vCPU of the processor's microarchitecture."""

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import ClassVar

from farthing.meters.base import Meter
from farthing.results import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Modelled(Meter):
    """E = idle_watts * num_cores * elapsed_s + (busy_watts - idle_watts) * busy_core_s, per vCPU (hardware thread).

    The linear model of Cloud Carbon Footprint (Methodology, "Compute"), whose coefficients come from SPECpower_ssj2008: whole
    servers, memory and fans included, at the plug; the building's cooling (PUE) is not. A processor whose name does not tell
    its microarchitecture (clouds often hide it) gets the mean of its vendor, an unknown vendor the mean of the table.
    """

    measured: ClassVar[bool] = False

    @classmethod
    def available(cls, device: Device) -> bool:
        return device.kind == "cpu"

    def energy_j(self, device: Device, *, busy_core_s: float, elapsed_s: float) -> float:
        power = _power(device.name)
        return power.idle_w * device.num_cores * elapsed_s + (power.busy_w - power.idle_w) * busy_core_s

    def describe(self, device: Device) -> str:
        power = _power(device.name)
        return f"modelled, not measured: {power.idle_w:.2f} W idle, {power.busy_w:.2f} W busy per vCPU, {power.source}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Power:
    idle_w: float  # per vCPU
    busy_w: float
    source: str


@cache
def _power(processor: str) -> _Power:
    rows = _rows()
    known = [row for row in rows if re.search(row["names"], processor, re.IGNORECASE)]
    vendor = [row for row in rows if re.search(_VENDORS[row["vendor"]], processor, re.IGNORECASE)]
    chosen = known or vendor or list(rows)
    what = (
        known[0]["architecture"]
        if known
        else f"mean of {len(chosen)} {vendor[0]['vendor'] if vendor else 'x86'} server generations"
    )
    return _Power(
        idle_w=sum(float(row["idle_watts_per_vcpu"]) for row in chosen) / len(chosen),
        busy_w=sum(float(row["busy_watts_per_vcpu"]) for row in chosen) / len(chosen),
        source=f"{what} ({chosen[0]['source']}, {chosen[0]['observed']})",
    )


_VENDORS = {"Intel": r"Intel|Xeon", "AMD": r"AMD|EPYC"}


@cache
def _rows() -> tuple[dict[str, str], ...]:
    table = files("farthing.meters").joinpath("watts.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(table.splitlines()))
