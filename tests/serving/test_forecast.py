"""What a service says of traffic that it has not seen, against cases whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from farthing.errors import DataError, JobError
from farthing.serving.forecast import Learned, forecast, rate_at
from farthing.serving.service_times import ServiceTimes

from .conftest import Server

LEARNED = Learned(
    a=0.01, c=0.0, d=0.0, ratios=(1.0,) * 200, between_s=0.0, margin=1.0, front_s=0.0, around_s=0.0,
    threads=1, streams=1, batch_size=1, batch_delay_s=0.0, bucketing=False,
)  # fmt: skip
EVEN_S, LENGTHS = np.arange(1000) / 50.0, np.full(1000, 8)


def poisson(n: int, rate_per_s: float) -> np.ndarray:
    return np.cumsum(np.random.default_rng(0).exponential(1.0 / rate_per_s, n))


def test_even_arrivals_never_wait() -> None:
    told = forecast(replace(LEARNED, front_s=0.001, around_s=0.002, threads=2), EVEN_S, LENGTHS)
    assert told.percentile_s(99) == pytest.approx(0.011)
    assert told.busy_s_per_request == pytest.approx(0.01)
    assert told.core_s_per_request == pytest.approx(2 * 0.01 + 0.002)
    assert told.utilization == pytest.approx(0.5, abs=0.001)


def test_what_lies_between_batches_holds_the_stream_and_is_not_billed() -> None:
    told = forecast(replace(LEARNED, between_s=0.005), EVEN_S, LENGTHS)
    assert told.percentile_s(50) == pytest.approx(0.015)
    assert told.busy_s_per_request == pytest.approx(0.01)
    assert told.utilization == pytest.approx(0.75, abs=0.001)


def test_the_wait_is_that_of_a_queue_with_scattered_service_times() -> None:
    """Pollaczek and Khinchine: mean wait = rho s (1 + cv^2) / (2 (1 - rho))."""
    n, rate = 200_000, 60.0
    ratios = tuple(np.tile([0.4, 1.6], 100))
    told = forecast(replace(LEARNED, ratios=ratios), poisson(n, rate), np.full(n, 8))
    wait_s = 0.6 * 0.01 * (1 + 0.36) / (2 * 0.4)
    assert told.latencies_s.mean() == pytest.approx(0.01 + wait_s, rel=0.05)


def test_whoever_would_be_late_is_refused_and_keeps_nobody_waiting() -> None:
    """Ten arrive at once, each takes 10 ms: by 55 ms five are answered."""
    arrivals_s, lengths = np.zeros(10), np.full(10, 8)
    told = forecast(replace(LEARNED, front_s=0.001, around_s=0.002), arrivals_s, lengths, deadline_s=0.055)
    assert told.latencies_s == pytest.approx([0.011, 0.021, 0.031, 0.041, 0.051])
    assert told.share_refused == pytest.approx(0.5)
    assert told.busy_s_per_request == pytest.approx(0.01)
    assert told.core_s_per_request == pytest.approx(0.01 + 0.002 + 0.001)
    surely = forecast(replace(LEARNED, margin=1.6), np.arange(10) * 1e-4, lengths, deadline_s=0.055)
    assert surely.latencies_s == pytest.approx([0.01, 0.0199, 0.0298, 0.0397, 0.0491]), "the tenth takes nobody's place"
    with pytest.raises(JobError, match=r"deadline_s = 0\.005: no request could be answered in so short a time"):
        forecast(LEARNED, arrivals_s, lengths, deadline_s=0.005)


def test_a_deadline_keeps_a_batch_small() -> None:
    """All ten together take 19 ms, seven 16 ms."""
    batched = replace(LEARNED, a=0.009, c=0.001, batch_size=10)
    assert forecast(batched, np.zeros(10), np.full(10, 8)).latencies_s == pytest.approx([0.019] * 10)
    told = forecast(batched, np.zeros(10), np.full(10, 8), deadline_s=0.0165)
    assert told.latencies_s == pytest.approx([0.016] * 7)


def test_the_rate_for_a_share_of_the_time() -> None:
    arrivals_s = poisson(5000, 7.0)
    batched = replace(LEARNED, a=0.008, c=0.001, batch_size=4, streams=2, between_s=0.0005)
    for learned in (LEARNED, batched):
        rate = rate_at(learned, np.full(5000, 8), 0.6, arrivals_s)
        scaled = (arrivals_s - arrivals_s[0]) * (5000 / (arrivals_s[-1] - arrivals_s[0])) / rate
        assert forecast(learned, scaled, np.full(5000, 8)).utilization == pytest.approx(0.6, abs=0.01)
    assert rate_at(LEARNED, np.full(5000, 8), 0.6, arrivals_s) == pytest.approx(60.0, rel=0.02)


def test_noise_does_not_bend_the_mean() -> None:
    """The fit is drawn to short times; what was learned of its misses makes up for it."""
    times = ServiceTimes.planned(None, 32)
    noise = np.random.default_rng(1).lognormal(-0.5 * 0.4**2, 0.4, 20_000)
    for factor in noise:
        times.learn(1, 32, 0.01 * factor, 0.001)
    assert times.seconds(1, 32) * np.mean(times.ratios) == pytest.approx(0.01, rel=0.05)
    assert times.between_s == pytest.approx(0.001)


def test_a_fit_of_single_items_stays_where_it_is() -> None:
    """With batches of one nothing tells a from c: forgetting must not let them drift apart, nor lose what a token takes."""
    times, draw = ServiceTimes.planned(None, 32), np.random.default_rng(2)
    for length in draw.integers(3, 128, 20_000).tolist():
        times.learn(1, length, (0.001 + 4e-5 * length) * draw.uniform(0.95, 1.05))
    assert max(times.theta) < 0.01
    for length in (3, 32, 128):
        assert times.seconds(1, length) == pytest.approx(0.001 + 4e-5 * length, rel=0.03)


@pytest.mark.parametrize(
    ("arrivals_s", "lengths"), [([0.0, 1.0], [8]), ([0.0], [8]), ([1.0, 0.0], [8, 8])], ids=["unlike", "one", "descending"]
)
def test_traffic_that_is_none_is_refused(arrivals_s: list[float], lengths: list[int]) -> None:
    with pytest.raises(JobError, match="at least two of each, arrivals ascending"):
        forecast(LEARNED, np.array(arrivals_s), np.array(lengths))


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(JobError, match=f"utilization = {share:g} must be above 0 and below 1"):
        rate_at(LEARNED, LENGTHS, share, EVEN_S)


def test_facts_come_back() -> None:
    assert Learned.read(LEARNED.facts()) == LEARNED
    with pytest.raises(DataError, match="ratios: missing; what is wanted is GET /v1/learned of a server that has answered"):
        Learned.read({name: value for name, value in LEARNED.facts().items() if name != "ratios"})


def test_a_server_tells_what_it_learned(server: Server) -> None:
    for _ in range(20):
        assert server.predict([0, 1, 2, 3])[0] == 200
    learned = Learned.read(server.ask("GET", "/v1/learned")[1])
    assert (learned.streams, learned.threads, learned.batch_size) == (2, 1, 8)
    assert 0.0 < learned.between_s < 1.0
    assert 0.0 < learned.front_s <= learned.around_s + 0.01  # the kernel counts processor time in steps of 10 ms
