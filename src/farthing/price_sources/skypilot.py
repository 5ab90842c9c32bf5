"""Reads a SkyPilot catalog (`vms.csv` of one provider) as it is."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from farthing.errors import PriceError
from farthing.price_sources.base import PriceSource, number
from farthing.results import UnitPrice

COLUMNS = ("InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "Price", "SpotPrice", "Region")


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyPilot(PriceSource):
    """One row per instance type, region and zone; 0.0 is missing, not free.

    A machine costs the lowest price over the zones of `region`, or of all regions where none is named: its `source` says
    which zone that was. Rows without an instance type (accelerators sold apart from their host) or without vCPUs or memory
    cannot be rented as they stand and are left out. The catalog has no dates: `observed` (ISO), else the file's own date.
    """

    path: Path
    region: str | None = None
    observed: str | None = None

    def prices(self, *, spot: bool) -> tuple[UnitPrice, ...]:
        cheapest: dict[str, UnitPrice] = {}
        for price in self._rows(spot):
            if price.sku not in cheapest or price.usd_per_hour < cheapest[price.sku].usd_per_hour:
                cheapest[price.sku] = price
        observed_at = self.observed or _file_date(Path(self.path))
        return tuple(replace(price, observed_at=observed_at) for price in cheapest.values())

    def _rows(self, spot: bool) -> Iterator[UnitPrice]:
        regions = set()
        for line, row in enumerate(_read(Path(self.path)), start=2):
            regions.add(row["Region"])
            if self.region in (None, row["Region"]) and (price := self._unit_price(row, line, spot)) is not None:
                yield price
        if self.region is not None and self.region not in regions:
            raise PriceError(f"{self.path} has no region {self.region!r}; it has: {', '.join(sorted(regions))}")

    def _unit_price(self, row: dict[str, str], line: int, spot: bool) -> UnitPrice | None:
        def cell(name: str) -> float:
            return number(row[name], where=f"{self.path}, line {line}, {name}") or 0.0

        usd_per_hour, vcpus, memory_gib = cell("SpotPrice" if spot else "Price"), cell("vCPUs"), cell("MemoryGiB")
        if not (row["InstanceType"] and usd_per_hour and vcpus and memory_gib):
            return None
        return UnitPrice(
            sku=row["InstanceType"],
            usd_per_hour=usd_per_hour,
            vcpus=vcpus,
            memory_gib=memory_gib,
            source=f"{self.path}, {row.get('AvailabilityZone') or row['Region']}",
            observed_at="",
            spot=spot,
            accelerator=row["AcceleratorName"] or None,
            accelerator_count=cell("AcceleratorCount"),
        )


def _read(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise PriceError(f"{path} is not a SkyPilot catalog: it has no column {', '.join(missing)}")
            yield from reader
    except (OSError, UnicodeDecodeError) as error:
        raise PriceError(f"{path} cannot be read: {error}") from error


def _file_date(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC).date().isoformat()
