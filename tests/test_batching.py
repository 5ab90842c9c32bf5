"""The batch policy: when a batch closes, whom it takes, and that the queue in real time obeys it."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.batching import BUCKETING_WINDOW, BatchPolicy, BatchQueue

LENGTHS = st.lists(st.integers(1, 128), min_size=1, max_size=80)


def test_a_full_batch_closes_when_its_last_item_comes_another_waits_for_its_oldest():
    policy = BatchPolicy(batch_size=3, delay_s=0.5)
    assert policy.close_at([1.0, 1.1, 1.2, 1.3]) == 1.2
    assert policy.close_at([1.0, 1.1]) == 1.5
    assert BatchPolicy(batch_size=3).close_at([1.0]) == 1.0


@given(LENGTHS, st.integers(1, 16), st.booleans())
def test_the_oldest_always_goes_and_nothing_goes_twice(lengths, batch_size, bucketing):
    picked = BatchPolicy(batch_size=batch_size, bucketing=bucketing).pick(lengths)
    assert picked[0] == 0
    assert len(picked) == len(set(picked)) == min(batch_size, len(lengths))


@given(LENGTHS, st.integers(2, 8))
def test_bucketing_never_pads_more_than_arrival_order_does(lengths, batch_size):
    window = lengths[: BUCKETING_WINDOW * batch_size]
    picked = [window[i] for i in BatchPolicy(batch_size=batch_size, bucketing=True).pick(window)]
    farthest = max(abs(n - lengths[0]) for n in picked)
    assert farthest <= max(abs(n - lengths[0]) for n in window[:batch_size])


def test_the_queue_gives_everything_out_once_to_many_streams():
    queue, taken, lock = BatchQueue(BatchPolicy(batch_size=4, delay_s=0.001)), [], threading.Lock()

    def stream():
        while batch := queue.take():
            with lock:
                taken.append(batch)

    streams = [threading.Thread(target=stream) for _ in range(3)]
    for thread in streams:
        thread.start()
    for item in range(500):
        queue.put(item, length=1)
    queue.close()
    for thread in streams:
        thread.join(timeout=10)
    assert sorted(item for batch in taken for item in batch) == list(range(500))
    assert max(map(len, taken)) <= 4


@pytest.mark.parametrize("delay_s", [0.0, 30.0])
def test_closing_gives_out_what_still_waits(delay_s):
    queue = BatchQueue(BatchPolicy(batch_size=8, delay_s=delay_s))
    queue.put("a", length=1)
    queue.close()
    assert queue.take() == ["a"]
    assert queue.take() == []
