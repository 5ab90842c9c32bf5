"""When batches are closed, what goes into them, and who is refused: the scheduler in front of replicas that only keep time."""

import asyncio
import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from farthing.batching import BatchPolicy
from farthing.pooling import BatchFailed, ReplicaLost
from farthing.pooling.outliers import Outliers
from farthing.results import ServiceModel
from farthing.routers.least_loaded import LeastLoaded
from farthing.serving.punctuality import EVERY, MOST_MARGIN, NEARLY_SURE, RECENT, Margin, Punctuality
from farthing.serving.scheduler import Refused, Scheduler
from farthing.serving.service_times import ServiceTimes

SERVICE = ServiceModel(coefficients=(0.01, 0.001, 0.0, 0.0), relative_error=0.0, host_s=0.0, threads=1, streams=1)


class Slots:
    """A pool of one replica whose batches end when they are released; it notes what it is given."""

    def __init__(self, slots=1, fails=lambda values: None, names="r"):
        self.ready = [SimpleNamespace(name=name, slots=slots, waiting={}, free=slots, alone=False) for name in names]
        self.batches, self.fails, self.blamed = [], fails, []
        self.outliers, self.blame, self.ready_in_s = Outliers(), self.blamed.append, math.inf
        self.hold = asyncio.Event()
        self.hold.set()

    @property
    def has_room(self):
        return any(replica.free > 0 for replica in self.ready)

    async def run(self, replica, batch, timeout_s):
        values = [int(item[0][0]) for item in batch]
        self.batches.append(values)
        self.on = replica.name
        replica.free -= 1
        try:
            await self.hold.wait()
            if error := self.fails(values):
                raise error
            return [[np.array([value])] for value in values], 0.01
        finally:
            replica.free += 1


def scheduled(test, pool=None, **policy):
    """Run `test(ask, pool, scheduler)` beside a running scheduler."""

    async def whole():
        slots = pool() if pool else Slots()
        scheduler = Scheduler(BatchPolicy(**policy), ServiceTimes.planned(SERVICE, 1), LeastLoaded(), most_waiting=50)
        running = asyncio.create_task(scheduler.run(slots))
        await asyncio.sleep(0)

        def ask(value, length=1, **options):
            return asyncio.create_task(scheduler.answer((np.array([value]),), length, **options))

        try:
            return await asyncio.wait_for(test(ask, slots, scheduler), 20)
        finally:
            running.cancel()

    return asyncio.run(whole())


async def settled():
    for _ in range(20):
        await asyncio.sleep(0)


def test_what_waits_while_the_slot_is_taken_goes_together_most_urgent_first():
    async def test(ask, pool, scheduler):
        pool.hold.clear()
        first = ask(0)
        await settled()
        others = [ask(1), ask(2, deadline_s=60.0), ask(3, deadline_s=30.0), ask(4, priority=1)]
        await settled()
        pool.hold.set()
        await asyncio.gather(first, *others)
        assert pool.batches == [[0], [4, 3, 2], [1]]

    scheduled(test, batch_size=3)


def test_a_batch_waits_for_others_only_where_they_may_come():
    async def test(ask, pool, scheduler):
        loop = asyncio.get_running_loop()
        scheduler._gap_s = 0.01
        asked = [ask(0), ask(1)]
        await settled()
        assert pool.batches == [], "others are expected within the delay"
        await asyncio.gather(*asked)
        scheduler._gap_s = 10.0
        started = loop.time()
        await ask(2)
        assert loop.time() - started < 0.2, "no one is expected within the delay: waiting cannot pay"

    scheduled(test, batch_size=4, delay_s=0.5)


def test_the_earliest_deadline_ends_the_waiting():
    async def test(ask, pool, scheduler):
        scheduler._gap_s = 0.001
        task = ask(0, deadline_s=0.3)
        await settled()
        now = asyncio.get_running_loop().time()
        assert scheduler.close_at(scheduler.waiting[0].arrived_s) == pytest.approx(scheduler.waiting[0].deadline_s - 0.014)
        await task
        assert asyncio.get_running_loop().time() - now < 1.0

    scheduled(test, batch_size=4, delay_s=30.0)


def test_like_lengths_go_together():
    async def test(ask, pool, scheduler):
        pool.hold.clear()
        first = ask(0)
        await settled()
        others = [ask(value, length=length) for value, length in ((1, 10), (2, 90), (3, 11), (4, 95))]
        await settled()
        pool.hold.set()
        await asyncio.gather(first, *others)
        assert pool.batches == [[0], [1, 3], [2, 4]]

    scheduled(test, batch_size=2, bucketing=True)


def test_who_cannot_make_its_deadline_is_refused_at_once():
    async def test(ask, pool, scheduler):
        pool.hold.clear()
        waiting = [ask(value) for value in range(40)]
        await settled()
        with pytest.raises(Refused, match=r"its deadline is in 0\.02 s") as caught:
            await ask(99, deadline_s=0.02)
        assert (caught.value.status, caught.value.retry_after_s >= 0.1) == (503, True)
        assert math.isclose(scheduler.predicted_wait_s(1), 0.011 + 0.011 + 0.012 * 20 - 0.0, abs_tol=0.05)
        pool.hold.set()
        await asyncio.gather(*waiting)

    scheduled(test, batch_size=2)


def test_expired_work_never_reaches_the_model():
    async def test(ask, pool, scheduler):
        pool.hold.clear()
        first = ask(0)
        await settled()
        late = ask(1, deadline_s=0.1)
        await asyncio.sleep(0.2)
        pool.hold.set()
        await first
        with pytest.raises(Refused, match="its deadline passed"):
            await late
        assert pool.batches == [[0]]

    scheduled(test, batch_size=1)


def test_a_full_queue_refuses():
    async def test(ask, pool, scheduler):
        pool.hold.clear()
        waiting = [ask(0)]
        await settled()
        waiting += [ask(value) for value in range(50)]
        await settled()
        with pytest.raises(Refused, match="50 items wait already"):
            await ask(99)
        pool.hold.set()
        await asyncio.gather(*waiting)

    scheduled(test, batch_size=1)


def test_who_gives_up_frees_its_place():
    async def test(ask, pool, scheduler):
        pool.hold.clear()
        first, second = ask(0), ask(1)
        await settled()
        second.cancel()
        await settled()
        assert scheduler.waiting == []
        pool.hold.set()
        await first
        assert pool.batches == [[0]]

    scheduled(test, batch_size=1)


def test_a_failing_batch_is_bisected_and_only_the_poison_fails():
    def pool():
        return Slots(fails=lambda values: BatchFailed("index 7") if 7 in values else None)

    async def test(ask, slots, scheduler):
        slots.hold.clear()
        first = ask(100)
        await settled()
        tasks = [ask(value) for value in range(8)]
        await settled()
        slots.hold.set()
        found = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert [int(row[0][0]) for row in found[:-1]] == [100, *range(7)]
        assert isinstance(found[-1], Refused)
        assert found[-1].status == 500
        assert sorted(map(len, slots.batches)) == [1, 1, 1, 2, 2, 4, 4, 8]
        with pytest.raises(Refused, match="made the model fail before"):
            await ask(7)

    scheduled(test, pool, batch_size=8)


def test_a_lost_replica_costs_no_answers():
    lost = itertools.chain([ReplicaLost("killed")], itertools.repeat(None))

    async def test(ask, slots, scheduler):
        assert [int((await ask(value))[0][0]) for value in range(3)] == [0, 1, 2]
        assert slots.batches == [[0], [0], [1], [2]]

    scheduled(test, lambda: Slots(fails=lambda values: next(lost)), batch_size=1)


def test_an_item_that_kills_twice_is_blamed():
    async def test(ask, slots, scheduler):
        with pytest.raises(Refused, match="the model failed on this item"):
            await ask(7)
        assert slots.batches == [[7], [7]]

    scheduled(test, lambda: Slots(fails=lambda values: ReplicaLost("died") if 7 in values else None), batch_size=1)


def test_of_a_batch_that_killed_each_is_tried_alone():
    async def test(ask, slots, scheduler):
        slots.hold.clear()
        first = ask(100)
        await settled()
        tasks = [ask(value) for value in range(8)]
        await settled()
        slots.hold.set()
        found = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert [int(row[0][0]) for row in found[:-1]] == [100, *range(7)]
        assert (type(found[-1]), found[-1].status) == (Refused, 500)
        assert slots.batches == [[100], [*range(8)], *([value] for value in range(8))], (
            "7 costs two replicas, not one a halving"
        )

    scheduled(test, lambda: Slots(fails=lambda values: ReplicaLost("died") if 7 in values else None), batch_size=8)


def test_what_is_suspected_of_killing_runs_with_nothing_beside_it():
    beside = []

    def fails(values):
        return ReplicaLost("died") if 7 in values and len(beside) == 0 else None

    async def test(ask, slots, scheduler):
        run = slots.run

        async def watched(replica, batch, timeout_s):
            if replica.alone:
                beside.append(replica.slots - replica.free)
            return await run(replica, batch, timeout_s)

        slots.run = watched
        await asyncio.gather(*(ask(value) for value in range(20)))
        assert beside == [0]

    scheduled(test, lambda: Slots(slots=4, fails=fails), batch_size=1)


def test_a_replica_that_fails_where_another_answers_is_to_blame_and_the_item_is_not():
    def pool():
        slots = Slots(names="ab", fails=lambda values: BatchFailed("broken") if slots.on == "a" else None)
        return slots

    async def test(ask, slots, scheduler):
        answers = await asyncio.gather(*(ask(value) for value in range(32)))
        assert [int(row[0][0]) for row in answers] == [*range(32)]
        assert slots.blamed
        assert set(slots.blamed) == {"a"}
        assert not scheduler.retries.quarantine

    scheduled(test, pool, batch_size=4)


def test_an_item_that_fails_on_two_replicas_says_nothing_about_them():
    async def test(ask, slots, scheduler):
        with pytest.raises(Refused, match="the model failed on this item"):
            await ask(7)
        assert (slots.batches, slots.blamed) == ([[7], [7]], [])

    scheduled(test, lambda: Slots(names="ab", fails=lambda values: BatchFailed("index") if 7 in values else None), batch_size=1)


def test_retries_wait_for_their_budget():
    async def test(ask, slots, scheduler):
        scheduler.retries.num_running = 3
        failing = ask(7)
        assert int((await ask(1))[0][0]) == 1
        assert slots.batches == [[7], [1]]
        scheduler.retries.num_running = 0
        scheduler.wake()
        assert int((await failing)[0][0]) == 7
        assert scheduler.retries.num_started == 1

    lost = itertools.chain([ReplicaLost("killed")], itertools.repeat(None))
    scheduled(test, lambda: Slots(fails=lambda values: next(lost)), batch_size=1)


def test_who_waits_to_be_tried_again_is_told_when_the_server_stops():
    async def test(ask, slots, scheduler):
        scheduler.retries.num_running = 3
        failing = ask(7)
        await settled()
        await scheduler.drain(0.05)
        with pytest.raises(Refused, match="the server stopped"):
            await failing

    scheduled(test, lambda: Slots(fails=lambda values: ReplicaLost("killed")), batch_size=1)


def test_who_is_blamed_is_tried_again_when_what_broke_it_may_be_mended(monkeypatch):
    failing = iter([BatchFailed("index")])

    async def test(ask, slots, scheduler):
        with pytest.raises(Refused, match="the model failed on this item"):
            await ask(7)
        with pytest.raises(Refused, match="made the model fail before"):
            await ask(7)
        monkeypatch.setattr("farthing.serving.retries.QUARANTINE_S", 0.0)
        assert int((await ask(7))[0][0]) == 7

    scheduled(test, lambda: Slots(fails=lambda values: next(failing, None)), batch_size=1)


def test_where_no_replica_is_ready_one_waits_for_the_next_within_the_deadline():
    async def test(ask, slots, scheduler):
        replicas, slots.ready = slots.ready, []
        with pytest.raises(Refused, match="no replica is ready"):
            await ask(1)
        slots.ready_in_s = 2.0
        with pytest.raises(Refused, match="it would take 2"):
            await ask(1, deadline_s=1.0)
        patient = ask(1, deadline_s=5.0)
        await settled()
        slots.ready = replicas
        scheduler.wake()
        assert int((await patient)[0][0]) == 1

    scheduled(test, batch_size=1)


def test_busy_is_not_stalled():
    async def test(ask, pool, scheduler):
        assert scheduler.stalled_s() == 0.0
        pool.hold.clear()
        tasks = [ask(0), ask(1)]
        await asyncio.sleep(0.3)
        assert scheduler.stalled_s() > 0.2
        pool.hold.set()
        await asyncio.gather(*tasks)
        assert scheduler.stalled_s() == 0.0

    scheduled(test, batch_size=1)


def test_times_are_learned_from_what_batches_took():
    times = ServiceTimes.planned(SERVICE, 1)
    assert times.seconds(4, 10) == pytest.approx(0.014)
    draw = np.random.default_rng(0)
    for _ in range(400):
        size, length = int(draw.integers(1, 17)), int(draw.integers(5, 100))
        times.learn(size, length, (0.002 + 0.0005 * size + 2e-5 * size * length) * draw.uniform(0.95, 1.05))
    for size, length in ((1, 10), (8, 50), (16, 100)):
        assert times.seconds(size, length) == pytest.approx(0.002 + 0.0005 * size + 2e-5 * size * length, rel=0.1)


def test_a_margin_follows_what_predictions_missed():
    margin = Margin(NEARLY_SURE)
    for _ in range(EVERY):
        margin.note(1.5)
    assert margin.value == pytest.approx(1.5)
    for _ in range(RECENT):
        margin.note(0.75)
    assert margin.value == 1.0
    for _ in range(EVERY):
        margin.note(100.0)
    assert margin.value == MOST_MARGIN
    punctuality = Punctuality()
    punctuality.started(0.001, 0.01, 0.05)  # far from its deadline
    assert not punctuality.starts.ratios
    punctuality.started(0.04, 0.05, 0.05)
    assert list(punctuality.starts.ratios) == [pytest.approx(1.25)]


def test_the_door_refuses_what_is_likelier_late_than_not():
    async def test(ask, slots, scheduler):
        slots.hold.clear()
        busy = ask(0)
        await settled()
        assert 0.015 < scheduler.predicted_wait_s(1) < 0.03
        scheduler.punctuality.starts.value = MOST_MARGIN
        with pytest.raises(Refused, match="it would take"):
            await ask(1, deadline_s=0.03)
        scheduler.punctuality.starts.value = 1.0
        scheduler.punctuality.takes.value = MOST_MARGIN  # of no account where nobody waits
        admitted = ask(1, deadline_s=0.03)
        await asyncio.sleep(0.001)
        slots.hold.set()
        await asyncio.gather(busy, admitted)
        assert len(scheduler.punctuality.starts.ratios) == 1

    scheduled(test, batch_size=1)


def taken(margin, *left_s, batch_size):
    """What a scheduler takes of items with so many seconds left, and what it tells the others."""

    async def whole():
        scheduler = Scheduler(BatchPolicy(batch_size=batch_size), ServiceTimes.planned(SERVICE, 1), LeastLoaded())
        scheduler.punctuality.takes.value = margin
        scheduler._pool = Slots()
        asking = [asyncio.create_task(scheduler.answer((np.array([i]),), 1, deadline_s=60.0)) for i in range(len(left_s))]
        await settled()
        now = scheduler.waiting[-1].arrived_s
        for item, left in zip(scheduler.waiting, left_s, strict=True):
            item.deadline_s = now + left
        items = scheduler._take(now)
        for item in [*items, *scheduler.waiting]:
            item.answer.set_result([])
        told = await asyncio.gather(*asking, return_exceptions=True)
        return len(items), len(scheduler.waiting), [answer for answer in told if isinstance(answer, Refused)]

    return asyncio.run(whole())


def test_whose_turn_comes_too_late_is_refused_and_takes_nobodys_place():
    """A batch of one takes 0.011 s, nearly for sure 0.022 s: of that the first has 0.015 s left, the second enough."""
    num_taken, num_waiting, (refused,) = taken(2.0, 0.015, 60.0, batch_size=1)
    assert (num_taken, num_waiting) == (1, 0)
    assert (refused.status, refused.retry_after_s) == (503, 0.1)
    assert str(refused) == "it would take 0.022 s, its deadline is in 0.015 s"
    assert taken(1.0, 0.015, 60.0, batch_size=1) == (1, 1, [])
    num_taken, num_waiting, refused = taken(2.0, *[0.001] * 5, batch_size=2)
    assert (num_taken, num_waiting, len(refused)) == (0, 0, 5)


def test_no_batch_makes_one_of_its_items_late():
    """One takes 0.011 s, ten 0.02 s, and 0.017 s are left: seven go together."""
    assert taken(1.0, 0.0171, *[60.0] * 9, batch_size=10) == (7, 3, [])
    assert taken(1.0, 0.0201, *[60.0] * 9, batch_size=10) == (10, 0, [])


def test_what_has_no_time_left_for_certainty_is_tried_where_it_takes_nobodys_place():
    async def test(ask, slots, scheduler):
        scheduler.punctuality.takes.value = MOST_MARGIN
        await ask(1, deadline_s=0.018)
        assert slots.batches == [[1]]

    scheduled(test, batch_size=1)
