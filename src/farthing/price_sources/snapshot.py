"""The table that ships with farthing: on-demand and spot prices of common machines, source and date per row."""

import csv
from dataclasses import dataclass
from importlib.resources import files

from farthing.price_sources.base import PriceSource, number
from farthing.results import UnitPrice


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(PriceSource):
    """A dated copy, for orientation: read your own bill, or a fresh SkyPilot catalog, before money depends on it."""

    def prices(self, *, spot: bool) -> tuple[UnitPrice, ...]:
        table = files("farthing.price_sources").joinpath("snapshot.csv").read_text(encoding="utf-8")
        rows = csv.DictReader(table.splitlines())
        return tuple(price for row in rows if (price := _unit_price(row, spot)) is not None)


def _unit_price(row: dict[str, str], spot: bool) -> UnitPrice | None:
    def cell(name: str) -> float:
        return number(row[name], where=f"snapshot.csv, {row['sku']}, {name}") or 0.0

    usd_per_hour = cell("usd_per_hour_spot" if spot else "usd_per_hour_on_demand")
    if not usd_per_hour:
        return None
    return UnitPrice(
        sku=row["sku"],
        usd_per_hour=usd_per_hour,
        vcpus=cell("vcpus"),
        memory_gib=cell("memory_gib"),
        source=f"{row['provider']} {row['region']}: {row['source']}",
        observed_at=row["observed"],
        spot=spot,
        accelerator=row["accelerator"] or None,
        accelerator_count=cell("accelerator_count"),
    )
