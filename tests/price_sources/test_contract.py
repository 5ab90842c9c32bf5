"""Every price source keeps the laws of the set."""

from pathlib import Path
from typing import Any

import pytest

from farthing import plugins
from farthing.price_sources.base import PriceSource
from farthing.testing.price_sources import check_price_source

CATALOG = """InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone
m1.small,,,2,4,,0.1,0.04,north,north-a
"""


@pytest.mark.parametrize("name", plugins.names(PriceSource))
def test_contract(name: str, tmp_path: Path) -> None:
    file = tmp_path / "catalog.csv"
    file.write_text(CATALOG)
    kind = plugins.load(PriceSource, name)
    knobs: dict[str, Any] = {"path": file} if "path" in kind.__dataclass_fields__ else {}  # type: ignore[attr-defined]
    check_price_source(kind(**knobs))
