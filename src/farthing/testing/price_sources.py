"""The laws of a price source, and a source of fixed prices, for tests here and of other packages."""

import math
from dataclasses import dataclass
from datetime import date

from farthing.price_sources.base import PriceSource
from farthing.results import UnitPrice


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedPrices(PriceSource):
    """The prices it was given."""

    table: tuple[UnitPrice, ...]

    def prices(self, *, spot: bool) -> tuple[UnitPrice, ...]:
        return tuple(price for price in self.table if price.spot == spot)


def check_price_source(source: PriceSource) -> None:
    """Every price positive, finite, of a machine with vCPUs and memory, dated, sourced; every SKU once; the same twice."""
    for spot in (False, True):
        prices = source.prices(spot=spot)
        assert prices == source.prices(spot=spot), "reading twice gave two tables"
        skus = [price.sku for price in prices]
        assert len(skus) == len(set(skus)), f"listed twice: {sorted({sku for sku in skus if skus.count(sku) > 1})}"
        for price in prices:
            assert math.isfinite(price.usd_per_hour) and price.usd_per_hour > 0, f"{price.sku} costs {price.usd_per_hour}"
            assert price.vcpus > 0 and price.memory_gib > 0, f"{price.sku} has no vCPUs or no memory"
            assert price.spot == spot, f"{price.sku} says spot={price.spot} in a table of spot={spot}"
            assert price.source, f"{price.sku} has no source"
            assert date.fromisoformat(price.observed_at) <= date.today(), f"{price.sku} is from the future"
