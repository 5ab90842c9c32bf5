"""What one replica needs and how many a rate needs: by hand, from made-up figures."""

from dataclasses import replace

import pytest

from farthing.errors import ArtifactError, JobError
from farthing.sizing import FRONT_BYTES, FRONT_S_PER_REQUEST, Load, rate_of, size
from farthing.testing.renderers import COST, DEPLOYMENT, FIGURES, measured

# 3 streams of 30 ms a request in the driven load carry 100/s; the bill says 6 vCPUs / 120 ms = 50/s: the lesser counts.
CAPACITY = 50.0


def sized(**load):
    return size(DEPLOYMENT, FIGURES, COST, Load(**load))


def test_the_least_capacity_that_was_seen_counts_and_says_where_it_comes_from():
    assert sized().capacity_per_s.value == pytest.approx(CAPACITY)
    assert "120 ms of a vCPU" in sized().capacity_per_s.reason
    without_bill = size(DEPLOYMENT, FIGURES, None, Load())
    assert without_bill.capacity_per_s.value == pytest.approx(100.0)
    assert "driven load" in without_bill.capacity_per_s.reason


def test_a_fast_model_is_held_back_by_what_answers_http():
    fast = size(DEPLOYMENT, (*FIGURES[:1], measured("throughput_per_s", 1e5)), None, Load())
    assert fast.capacity_per_s.value == pytest.approx(1.0 / FRONT_S_PER_REQUEST)


def test_one_batch_alone_is_the_last_resort():
    alone = size(DEPLOYMENT, (FIGURES[0], measured("batch_s", 0.05)), None, Load())
    assert alone.capacity_per_s.value == pytest.approx(8 / 0.05)


def test_a_replica_needs_its_threads_and_the_front():
    assert sized().cpus.value == pytest.approx(6 + CAPACITY * FRONT_S_PER_REQUEST)
    assert sized().cpus_limit.value == 7
    assert sized().model_bytes.value == pytest.approx(600 * 2**20)
    assert sized().memory_bytes.value == pytest.approx(600 * 2**20 + 1.5 * FRONT_BYTES)
    assert sized(memory_bytes=2.0**30).model_bytes.value == pytest.approx(1.5 * 2**30)


def test_the_plan_sets_the_least_and_twice_its_rate_the_most():
    assert rate_of(COST) == pytest.approx(100.0)
    assert sized().min_replicas.value == 2
    assert sized().max_replicas.value == 5  # 200/s at 40/s each


def test_another_rate_and_peak_are_divided_by_what_a_replica_carries():
    assert sized(rate_per_s=41.0).min_replicas.value == 2
    assert sized(rate_per_s=40.0).min_replicas.value == 1
    assert sized(rate_per_s=40.0, peak_per_s=121.0).max_replicas.value == 4
    assert sized(rate_per_s=40.0, headroom=0.0).max_replicas.value == 2
    spared = sized(rate_per_s=40.0, spare=1)
    assert (spared.min_replicas.value, spared.max_replicas.value) == (2, 3)


def test_a_plan_without_a_rate_may_grow_twofold():
    assert size(DEPLOYMENT, FIGURES, None, Load()).max_replicas.value == 4


def test_what_is_aimed_at_is_littles_law():
    aims = sized()
    assert aims.busy_streams.value == pytest.approx(2.4)
    assert aims.waiting.value == 24
    # 40/s: 0.8 x 3 x 8 in the model, and 40/s x 10 ms / 2 waiting for their batch
    assert aims.ongoing.value == pytest.approx(19.2 + 0.2)
    assert aims.most_ongoing.value == 48
    single = size(replace(DEPLOYMENT, batch_size=1, streams=1), FIGURES, COST, Load())
    assert single.ongoing.value == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("load", "says"),
    [
        ({"rate_per_s": -1.0}, "rate_per_s = -1"),
        ({"rate_per_s": float("nan")}, "rate_per_s = nan"),
        ({"peak_per_s": float("inf")}, "peak_per_s = inf"),
        ({"memory_bytes": 0.0}, "memory_bytes = 0"),
        ({"headroom": 1.0}, "headroom = 1"),
        ({"headroom": float("nan")}, "headroom = nan"),
        ({"spare": -1}, "spare = -1"),
        ({"peak_per_s": 99.0}, "below the mean of 100/s"),
        ({"rate_per_s": 10.0, "peak_per_s": 5.0}, "below the mean of 10/s"),
    ],
)
def test_a_load_that_cannot_be_is_refused(load, says):
    with pytest.raises(JobError, match=says):
        sized(**load)


def test_figures_that_are_missing_are_named():
    with pytest.raises(ArtifactError, match="--memory-gib"):
        size(DEPLOYMENT, FIGURES[1:], COST, Load())
    with pytest.raises(ArtifactError, match="no time of a request"):
        size(DEPLOYMENT, FIGURES[:1], None, Load())
