"""The shipped table, read through its member."""

from farthing.price_sources.snapshot import Snapshot


def test_prices_carry_machine_source_and_date() -> None:
    small = {p.sku: p for p in Snapshot().prices(spot=False)}["c6i.large"]
    assert (small.usd_per_hour, small.vcpus, small.memory_gib, small.accelerator) == (0.085, 2.0, 4.0, None)
    assert "aws us-east-1" in small.source and small.observed_at == "2024-02-21"


def test_a_missing_spot_price_is_left_out() -> None:
    on_demand, spot = ({p.sku for p in Snapshot().prices(spot=s)} for s in (False, True))
    assert "gpu_1x_a10" in on_demand - spot
    assert spot < on_demand
