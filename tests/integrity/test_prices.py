"""The shipped price table is fit to ship: every row positive, dated, sourced, and no row contradicts another."""

import csv
from collections import Counter
from datetime import date
from importlib.resources import files

import pytest

from farthing.pricing.prediction import family
from farthing.pricing.tariff import GIB_PER_VCPU_PRICE

ROWS = list(csv.DictReader(files("farthing.price_sources").joinpath("snapshot.csv").read_text().splitlines()))
PROVIDERS = {"aws", "gcp", "azure", "lambda"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["sku"])
def test_row(row: dict[str, str]) -> None:
    assert row["provider"] in PROVIDERS
    assert float(row["vcpus"]) > 0 and float(row["memory_gib"]) > 0
    on_demand, spot = float(row["usd_per_hour_on_demand"]), float(row["usd_per_hour_spot"])
    assert 0 < on_demand < 200 and 0 <= spot < on_demand
    assert bool(row["accelerator"]) == (float(row["accelerator_count"]) > 0)
    assert date(2024, 1, 1) <= date.fromisoformat(row["observed"]) <= date.today()
    assert "@" in row["source"], "a source names a revision"


def test_no_machine_stands_twice() -> None:
    assert [key for key, n in Counter((row["sku"], row["region"]) for row in ROWS).items() if n > 1] == []
    assert max(Counter(row["sku"] for row in ROWS).values()) == 1, "a SKU names one machine across providers"


def test_sizes_of_one_family_cost_alike_per_vcpu() -> None:
    """A slip of the keyboard in one row shows as a size that is far off its neighbours."""
    families: dict[str, list[float]] = {}
    for row in ROWS:
        family = row["sku"].rstrip("0123456789").partition(".")[0]
        if not row["accelerator"]:
            families.setdefault(family, []).append(float(row["usd_per_hour_on_demand"]) / float(row["vcpus"]))
    assert all(max(prices) / min(prices) < 1.01 for prices in families.values() if len(prices) > 1)


@pytest.mark.parametrize(
    ("lean", "large"),
    [
        ("n2-standard-2", "n2-highmem-2"),
        ("c6i.large", "r6i.large"),
        ("m6i.large", "r6i.large"),
        ("Standard_D2s_v5", "Standard_E2s_v5"),
    ],
)
def test_the_price_of_a_gib_is_of_the_size_that_shares_assume(lean: str, large: str) -> None:
    """Two sizes that differ in memory only give the price of a GiB over that of a vCPU."""
    (cores, gib, usd), (same_cores, more_gib, more_usd) = (
        (float(row["vcpus"]), float(row["memory_gib"]), float(row["usd_per_hour_on_demand"]))
        for sku in (lean, large)
        for row in ROWS
        if row["sku"] == sku
    )
    assert cores == same_cores
    usd_per_gib = (more_usd - usd) / (more_gib - gib)
    usd_per_vcpu = (usd - usd_per_gib * gib) / cores
    assert GIB_PER_VCPU_PRICE / 1.3 < usd_per_gib / usd_per_vcpu < GIB_PER_VCPU_PRICE * 1.3


def test_every_published_ceiling_is_of_a_machine_in_the_table() -> None:
    ceilings = csv.DictReader(files("farthing.pricing").joinpath("ceilings.csv").read_text().splitlines())
    accelerators = {family(row["sku"]): row["accelerator"] for row in ROWS}
    assert all(accelerators[row["family"]] == row["accelerator"] for row in ceilings)
