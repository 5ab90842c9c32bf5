"""NVML's counter, replayed: millijoules since the driver was loaded become joules since the meter was made."""

from dataclasses import dataclass, field

import pytest

from farthing.meters.nvml import Nvml
from farthing.results import Device
from farthing.testing.meters import check_meter

GPU = Device(name="NVIDIA H100", kind="cuda", num_cores=132, memory_bytes=8e10, flops_per_s={}, bytes_per_s=0.0)


@dataclass
class Recorded:
    """The three calls of pynvml that the meter makes, with readings in order; the last one is repeated."""

    readings_mj: list[int] = field(default_factory=list)
    NVMLError: type[Exception] = RuntimeError

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        return self.readings_mj.pop(0) if len(self.readings_mj) > 1 else self.readings_mj[0]


def test_counts_from_when_it_was_made() -> None:
    meter = Nvml(source=Recorded([5_000_000, 5_250_000]))
    assert meter.energy_j(GPU, busy_core_s=0.0, elapsed_s=0.0) == pytest.approx(250.0)


def test_laws() -> None:
    check_meter(Nvml(source=Recorded([10, 10, 20, 30, 30, 45])), GPU)


def test_reads_no_processor_and_no_gpu_that_is_not_there() -> None:
    assert not Nvml.available(Device(name="EPYC", kind="cpu", num_cores=2, memory_bytes=8e9, flops_per_s={}, bytes_per_s=0.0))
