"""What all trials share: the demand that they are priced for."""

from types import SimpleNamespace

import pytest

from farthing.types import Prices, Traffic
from farthing.units import SECONDS_PER_MONTH
from farthing.workshop import Workshop


def demand(prices: Prices, **traffic: object) -> float | None:
    job = SimpleNamespace(traffic=Traffic(scenario="single_stream", **traffic), prices=prices)
    return Workshop.demand.func(SimpleNamespace(job=job, reference_s=0.01)).requests_per_month


def test_the_months_of_a_single_stream_hold_the_same_requests_for_all() -> None:
    assert demand(Prices(usd_per_hour=0.1)) == pytest.approx(100 * SECONDS_PER_MONTH)
    assert demand(Prices(usd_per_hour=0.1), requests_per_month=5e6) == 5e6
    assert demand(Prices(usd_per_hour=0.1, mode="whole_machines")) is None  # a machine is paid all month, busy or idle
