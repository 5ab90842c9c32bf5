"""Reads the energy counter of an NVIDIA GPU through NVML."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from farthing.meters.base import Meter
from farthing.results import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvml(Meter):
    """Joules of the first GPU since this object was made (nvmlDeviceGetTotalEnergyConsumption counts mJ).

    Whatever else runs on that GPU is counted; processors and memory of the host are not. Volta and later have the counter.
    `source` takes the place of the library `pynvml` (package nvidia-ml-py), so that recorded readings can be replayed.
    """

    measured: ClassVar[bool] = True
    source: Any = field(default_factory=lambda: _library())
    _first_mj: list[int] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._first_mj.append(_read_mj(self.source))

    @classmethod
    def available(cls, device: Device) -> bool:
        if device.kind != "cuda" or (library := _library()) is None:
            return False
        try:
            return _read_mj(library) >= 0
        except library.NVMLError:
            return False

    def energy_j(self, device: Device, *, busy_core_s: float, elapsed_s: float) -> float:
        return (_read_mj(self.source) - self._first_mj[0]) / 1e3

    def describe(self, device: Device) -> str:
        return f"measured by NVML ({device.name}; the GPU, not the machine around it)"


def _library() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


def _read_mj(library: Any) -> int:
    library.nvmlInit()
    return int(library.nvmlDeviceGetTotalEnergyConsumption(library.nvmlDeviceGetHandleByIndex(0)))
