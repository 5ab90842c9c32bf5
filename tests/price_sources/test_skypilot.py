"""The SkyPilot catalog: zones, regions, missing prices, broken rows."""

from pathlib import Path

import pytest

from farthing import plugins
from farthing.errors import PriceError
from farthing.price_sources.base import PriceSource
from farthing.price_sources.skypilot import SkyPilot
from farthing.types import MemberRef

HEADER = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone"
ROWS = (
    "m1.small,,,2.0,4.0,,0.10,0.05,north,north-a",
    "m1.small,,,2.0,4.0,,0.10,0.03,north,north-b",
    "m1.small,,,2.0,4.0,,0.12,0.02,south,south-a",
    "m1.large,,,8.0,16.0,,0.40,0.0,north,north-a",
    "g1.large,T4,1.0,4.0,16.0,\"{'Gpus': [{'Name': 'T4'}]}\",0.50,,north,north-a",
    ",A100,1.0,,,,2.93,1.17,north,",
    "free.tier,,,1.0,1.0,,0.0,0.0,north,north-a",
)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return write(tmp_path, *ROWS)


def write(directory: Path, *rows: str, header: str = HEADER) -> Path:
    path = directory / "vms.csv"
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


def test_zero_is_missing_and_the_lowest_zone_counts(catalog: Path) -> None:
    on_demand = {p.sku: p for p in SkyPilot(path=catalog).prices(spot=False)}
    spot = {p.sku: p for p in SkyPilot(path=catalog, region="north").prices(spot=True)}
    assert {sku: p.usd_per_hour for sku, p in on_demand.items()} == {"m1.small": 0.10, "m1.large": 0.40, "g1.large": 0.50}
    assert {sku: p.usd_per_hour for sku, p in spot.items()} == {"m1.small": 0.03}
    assert spot["m1.small"].source == f"{catalog}, north-b"
    assert (on_demand["g1.large"].accelerator, on_demand["g1.large"].accelerator_count) == ("T4", 1.0)


def test_without_a_region_the_cheapest_region_is_named(catalog: Path) -> None:
    (price,) = SkyPilot(path=catalog).prices(spot=True)
    assert (price.usd_per_hour, price.source) == (0.02, f"{catalog}, south-a")


def test_an_unknown_region_is_an_error(catalog: Path) -> None:
    with pytest.raises(PriceError, match=r"no region 'nroth'; it has: north, south"):
        SkyPilot(path=catalog, region="nroth").prices(spot=False)


@pytest.mark.parametrize("cell", ["-0.1", "nan", "inf", "dear"])
def test_a_price_that_is_none_names_file_line_and_column(tmp_path: Path, cell: str) -> None:
    path = write(tmp_path, f"m1.small,,,2,4,,{cell},0.01,north,north-a")
    with pytest.raises(PriceError, match=rf"vms\.csv, line 2, Price: '{cell}'"):
        SkyPilot(path=path).prices(spot=False)


def test_a_file_of_another_kind_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PriceError, match="is not a SkyPilot catalog: it has no column MemoryGiB"):
        SkyPilot(path=write(tmp_path, header=HEADER.replace("MemoryGiB", "Memory"))).prices(spot=False)
    with pytest.raises(PriceError, match=r"gone\.csv cannot be read"):
        SkyPilot(path=tmp_path / "gone.csv").prices(spot=False)


def test_a_job_reads_it_by_name(catalog: Path) -> None:
    ref = MemberRef(name="skypilot", knobs=(("path", str(catalog)), ("region", "south")))
    (price,) = plugins.make(PriceSource, ref).prices(spot=False)
    assert (price.sku, price.usd_per_hour) == ("m1.small", 0.12)


def test_dates_come_from_the_job_or_the_file(catalog: Path) -> None:
    (first, *_) = SkyPilot(path=catalog, observed="2024-02-21").prices(spot=False)
    assert first.observed_at == "2024-02-21"
