"""A measured machine of 2 vCPUs and 4 GiB, what one deployment takes of it, and a table of prices of no real cloud."""

import pytest

from farthing.pricing import Usage
from farthing.results import Device, UnitPrice
from farthing.testing.price_sources import FixedPrices
from farthing.units import from_gib

MACHINES = (  # sku, vCPUs, GiB, USD per hour on demand, spot, accelerator, how many
    ("c1.large", 2, 4, 0.085, 0.04, None, 0),
    ("c1.xlarge", 4, 8, 0.17, None, None, 0),
    ("c1.2xlarge", 8, 16, 0.34, 0.15, None, 0),
    ("c1.4xlarge", 16, 32, 0.68, None, None, 0),
    ("c2.large", 2, 4, 0.09, None, None, 0),
    ("highcpu-4", 4, 8, 0.17, None, None, 0),
    ("highcpu-22", 22, 44, 0.95, None, None, 0),
    ("g4dn.xlarge", 4, 16, 0.5, None, "T4", 1),
    ("g4dn.12xlarge", 48, 192, 4.0, None, "T4", 4),
    ("g2-standard-4", 4, 16, 0.7, None, "L4", 1),
    ("p4d.24xlarge", 96, 1152, 32.0, None, "A100", 8),
    ("g9.xlarge", 4, 16, 1.0, None, "Z9", 1),
)


@pytest.fixture(scope="session")
def source() -> FixedPrices:
    return FixedPrices(
        table=tuple(
            UnitPrice(
                sku=sku,
                usd_per_hour=usd,
                vcpus=vcpus,
                memory_gib=memory_gib,
                source="a test",
                observed_at="2024-02-21",
                spot=is_spot,
                accelerator=accelerator,
                accelerator_count=count,
            )
            for sku, vcpus, memory_gib, on_demand, spot, accelerator, count in MACHINES
            for is_spot, usd in ((False, on_demand), (True, spot))
            if usd is not None
        )
    )


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
