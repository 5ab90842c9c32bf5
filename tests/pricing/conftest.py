"""A measured machine of 2 vCPUs and 4 GiB, and what one deployment takes of it."""

import pytest

from farthing.pricing import Usage
from farthing.types import Device
from farthing.units import from_gib


@pytest.fixture(scope="session")
def device() -> Device:
    return Device(
        name="Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz",
        kind="cpu",
        num_cores=2,
        memory_bytes=from_gib(4.0),
        flops_per_s={"float32": 1e11},
        bytes_per_s=1e10,
    )


@pytest.fixture(scope="session")
def usage() -> Usage:
    return Usage(busy_s=0.01, vcpus=2, peak_bytes=from_gib(1.0), capacity_per_s=80.0)
