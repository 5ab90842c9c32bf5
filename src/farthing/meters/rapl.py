"""Reads the energy counters of processor packages and DRAM from Linux powercap (Intel RAPL; AMD uses the same names)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from farthing.meters.base import Meter
from farthing.results import Device

ROOT = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rapl(Meter):
    """Joules of the whole machine since this object was made: every process on it is counted.

    A counter runs from 0 to `max_energy_range_uj` and wraps; one wrap between two reads is seen, more are not, so read at
    least every few minutes (the range is a few hundred kJ). Zones: `package-*` and `dram`; the others (core, uncore, psys)
    lie inside them or overlap. `root` may be a recorded tree.
    """

    measured: ClassVar[bool] = True
    root: Path = field(default_factory=lambda: ROOT)
    _zones: tuple["_Zone", ...] = field(default=(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_zones", tuple(_Zone(directory) for directory in _zones(self.root)))

    @classmethod
    def available(cls, device: Device) -> bool:
        return device.kind == "cpu" and next(_zones(ROOT), None) is not None

    def energy_j(self, device: Device, *, busy_core_s: float, elapsed_s: float) -> float:
        return sum(zone.advance() for zone in self._zones) / 1e6

    def describe(self, device: Device) -> str:
        return (
            f"measured by RAPL ({', '.join(zone.name for zone in self._zones)}; processors and memory, not the whole machine)"
        )


class _Zone:
    """One counter, unwrapped: microjoules since it was made."""

    def __init__(self, directory: Path) -> None:
        self.name = _text(directory / "name")
        self._counter = directory / "energy_uj"
        self._range_uj = int(_text(directory / "max_energy_range_uj"))
        self._last_uj = int(_text(self._counter))
        self._total_uj = 0

    def advance(self) -> int:
        now_uj = int(_text(self._counter))
        self._total_uj += now_uj - self._last_uj if now_uj >= self._last_uj else now_uj + self._range_uj - self._last_uj
        self._last_uj = now_uj
        return self._total_uj


def _zones(root: Path) -> Iterator[Path]:
    """Zones that may be read (many systems allow that to root only), each once: sysfs lists a child below its parent too."""
    for directory in sorted(root.glob("intel-rapl:*")):
        if os.access(directory / "energy_uj", os.R_OK):
            name = _text(directory / "name")
            if name.startswith("package-") or name == "dram":
                yield directory


def _text(file: Path) -> str:
    return file.read_text().strip()
