"""Traffic as a demand: months, runs, the busiest minute of a trace."""

from pathlib import Path

import numpy as np
import pytest

from farthing.pricing import demand_of
from farthing.types import Traffic
from farthing.units import SECONDS_PER_MONTH


def test_a_rate_is_that_rate_all_month() -> None:
    found = demand_of(Traffic(scenario="server", rate_per_s=10.0))
    assert found.peak_rate_per_s == 10.0 and found.requests_per_run is None
    assert found.requests_per_month == pytest.approx(10.0 * SECONDS_PER_MONTH)


def test_a_stated_month_overrides_the_rate_s() -> None:
    found = demand_of(Traffic(scenario="server", rate_per_s=10.0, requests_per_month=5.0))
    assert (found.requests_per_month, found.peak_rate_per_s) == (5.0, 10.0)


def test_offline_is_one_run_a_day() -> None:
    found = demand_of(Traffic(scenario="offline", num_items=7200, deadline_s=3600.0))
    assert found.peak_rate_per_s == 2.0 and found.requests_per_run == 7200
    assert found.requests_per_month == pytest.approx(7200 * 730 / 24)
    assert demand_of(Traffic(scenario="offline", num_items=7200)).peak_rate_per_s == 0.0


def test_a_single_stream_has_no_rate() -> None:
    found = demand_of(Traffic(scenario="single_stream"))
    assert (found.requests_per_month, found.peak_rate_per_s) == (None, 0.0)


def write_trace(path: Path, times_s: np.ndarray) -> Path:
    path.write_text("time\n" + "".join(f"{t}\n" for t in times_s))
    return path


def test_a_trace_is_carried_at_its_busiest_minute(tmp_path: Path) -> None:
    times_s = np.sort(np.concatenate([np.arange(0.0, 600.0, 1.0), np.arange(300.0, 360.0, 0.25) + 0.1]))
    found = demand_of(Traffic(scenario="server", trace=write_trace(tmp_path / "trace.csv", times_s)))
    assert found.requests_per_month == pytest.approx((len(times_s) - 1) / 599.0 * SECONDS_PER_MONTH)
    assert found.peak_rate_per_s == pytest.approx(300 / 60)


def test_a_trace_is_scaled_to_the_rate(tmp_path: Path) -> None:
    times_s = np.array([0.0, 1.0, 2.0, 400.0, 800.0])
    traffic = Traffic(scenario="server", trace=write_trace(tmp_path / "trace.csv", times_s), rate_per_s=10.0)
    found = demand_of(traffic)
    assert found.requests_per_month == pytest.approx(10.0 * SECONDS_PER_MONTH)
    assert found.peak_rate_per_s == pytest.approx(10.0 * (3 / 60) / (4 / 800))


def test_a_trace_shorter_than_a_minute_has_its_own_rate(tmp_path: Path) -> None:
    found = demand_of(Traffic(scenario="server", trace=write_trace(tmp_path / "trace.csv", np.arange(0.0, 10.5, 0.5))))
    assert found.peak_rate_per_s == pytest.approx(2.0)
