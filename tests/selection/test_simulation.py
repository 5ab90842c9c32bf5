"""The queue simulation against theory, and its laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.batching import BatchPolicy
from farthing.results import ServiceModel
from farthing.selection.simulation import simulate, simulate_offline, simulate_single_stream


def service(seconds, *, per_item=0.0, streams=1):
    return ServiceModel(coefficients=(seconds, per_item, 0.0, 0.0), relative_error=0.0, host_s=0.0, threads=1, streams=streams)


def poisson(rate, n, seed=0):
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, n))


@pytest.mark.parametrize("utilization", [0.3, 0.6, 0.8])
def test_mean_wait_is_that_of_an_m_d_1_queue(utilization):
    """Pollaczek-Khinchine for constant service: W = rho s / (2 (1 - rho))."""
    n, seconds = 60_000, 0.01
    simulated = simulate(service(seconds), BatchPolicy(), poisson(utilization / seconds, n), np.ones(n, int))
    expected_s = seconds + utilization * seconds / (2 * (1 - utilization))
    assert simulated.latencies_s.mean() == pytest.approx(expected_s, rel=0.06)
    assert simulated.utilization(1) == pytest.approx(utilization, rel=0.03)


def test_batches_form_under_load_and_cost_less_per_request():
    n, load = 4000, poisson(300.0, 4000)
    model = service(0.004, per_item=0.0005)
    alone = simulate(model, BatchPolicy(), load[:500], np.ones(500, int))
    batched = simulate(model, BatchPolicy(batch_size=16), load, np.ones(n, int))
    assert batched.busy_s_per_request < 0.7 * alone.busy_s_per_request
    assert np.percentile(batched.latencies_s, 99) < 0.05


def test_a_delay_waits_for_its_oldest_item_and_no_longer():
    simulated = simulate(service(0.001), BatchPolicy(batch_size=8, delay_s=0.02), np.array([0.0, 0.015, 1.0]), np.ones(3, int))
    assert simulated.latencies_s == pytest.approx([0.021, 0.006, 0.021])


def test_a_full_batch_does_not_wait_for_its_delay():
    simulated = simulate(service(0.001), BatchPolicy(batch_size=2, delay_s=9.0), np.array([0.0, 0.1]), np.ones(2, int))
    assert simulated.latencies_s == pytest.approx([0.101, 0.001])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 0.02), min_size=1, max_size=120),
    st.integers(1, 8),
    st.sampled_from([0.0, 0.003]),
    st.integers(1, 3),
    st.booleans(),
)
def test_every_request_is_answered_once_and_not_before_it_could_be(gaps, batch_size, delay_s, streams, bucketing):
    arrivals_s, lengths = np.cumsum(gaps), np.random.default_rng(0).integers(1, 100, len(gaps))
    model = ServiceModel(coefficients=(0.002, 0.0, 1e-5, 0.0), relative_error=0.0, host_s=0.0, threads=1, streams=streams)
    policy = BatchPolicy(batch_size=batch_size, delay_s=delay_s, bucketing=bucketing)
    simulated = simulate(model, policy, arrivals_s, lengths)
    least_s = np.array([model.seconds(1, float(n)) for n in lengths])
    assert (simulated.latencies_s >= least_s - 1e-12).all()
    assert simulated.busy_s <= simulated.elapsed_s * streams + 1e-9


def test_offline_sorting_saves_the_padding_and_streams_share_the_work():
    model = ServiceModel(coefficients=(0.0, 0.0, 1e-4, 0.0), relative_error=0.0, host_s=0.0, threads=1, streams=2)
    lengths = np.array([1, 100] * 32)
    padded = simulate_offline(model, BatchPolicy(batch_size=8), lengths)
    sorted_ = simulate_offline(model, BatchPolicy(batch_size=8, bucketing=True), lengths)
    assert padded.busy_s == pytest.approx(64 * 100 * 1e-4)
    assert sorted_.busy_s == pytest.approx(64 * 50.5 * 1e-4)
    assert padded.elapsed_s == pytest.approx(padded.busy_s / 2)


def test_single_stream_is_its_own_service_time():
    model = ServiceModel(coefficients=(0.001, 0.0, 1e-5, 0.0), relative_error=0.0, host_s=0.0005, threads=1, streams=1)
    assert simulate_single_stream(model, np.array([10, 100])).latencies_s == pytest.approx([0.0016, 0.0025])
