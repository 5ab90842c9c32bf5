"""Every meter keeps the laws of the set, where it can be read."""

import pytest

from farthing import plugins
from farthing.meters.base import Meter
from farthing.results import Device
from farthing.testing.meters import check_meter

DEVICES = tuple(
    Device(name="AMD EPYC 7R13", kind=kind, num_cores=2, memory_bytes=8e9, flops_per_s={}, bytes_per_s=0.0)
    for kind in ("cpu", "cuda")
)


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.kind)
@pytest.mark.parametrize("name", plugins.names(Meter))
def test_contract(name: str, device: Device) -> None:
    kind = plugins.load(Meter, name)
    if kind.available(device):
        check_meter(kind(), device)
