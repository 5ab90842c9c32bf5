"""The driven load: latency from the intended send, and runs that the generator could not drive are void."""

import numpy as np
import pytest

from farthing.errors import LoadVoid
from farthing.measurement.load import LoadRun
from farthing.traffic import arrivals, rate_per_s, read_trace
from farthing.types import Traffic


def run(lag_s, latency_s):
    return LoadRun(
        latencies_s=np.full(300, latency_s), send_lag_s=np.full(300, lag_s), intended_s=1.0, elapsed_s=1.0, busy_s=0.5
    )


def test_a_generator_that_lags_voids_the_run():
    with pytest.raises(LoadVoid, match=r"9\.0 ms late"):
        run(0.009, 0.02).check()
    run(0.0015, 0.005).check()


def test_lag_is_judged_by_what_it_could_change():
    run(0.009, 0.2).check()
    run(0.009, 0.02).check(ceiling_s=0.1)
    with pytest.raises(LoadVoid):
        run(0.009, 0.02).check(ceiling_s=0.05)


def test_another_rate_than_the_intended_voids_the_run_however_slow_the_answers():
    late = LoadRun(
        latencies_s=np.full(300, 9.0), send_lag_s=np.linspace(0, 0.1, 300), intended_s=1.0, elapsed_s=9.0, busy_s=9.0
    )
    with pytest.raises(LoadVoid, match=r"offered 1/1\.1 of the rate"):
        late.check()


def test_poisson_arrivals_have_the_rate_and_the_spread_of_one():
    gaps = np.diff(arrivals(Traffic(scenario="server", rate_per_s=50), 50_000, 50.0, seed=1))
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.02)
    assert gaps.std() == pytest.approx(1 / 50, rel=0.03)


def test_a_trace_keeps_its_bursts_at_another_rate(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("t,n\n" + "\n".join(f"{second},1" for second in (0, 0.1, 0.2, 10, 10.1, 10.2, 20)))
    traffic = Traffic(scenario="server", trace=path)
    assert rate_per_s(traffic) == pytest.approx(6 / 20)
    gaps = np.diff(arrivals(traffic, 601, 100.0, seed=0))
    assert gaps.mean() == pytest.approx(0.01, rel=0.02)
    assert sorted(set(np.round(gaps / gaps.min()).astype(int)))[-1] == 98  # 9.8 s against 0.1 s


def test_iso_timestamps_are_read(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("TIMESTAMP\n2023-11-16 18:15:46.68\n2023-11-16 18:15:50.99\n")
    assert np.diff(read_trace(path)) == pytest.approx([4.31])
