"""Who is served when: admission by predicted wait against deadline, batches by earliest deadline and like length."""

import asyncio
import bisect
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from farthing.batching import BUCKETING_WINDOW, BatchPolicy
from farthing.pooling import BatchFailed, Pool, Replica, ReplicaAway, ReplicaLost
from farthing.routers.base import Load, Router
from farthing.serving.pending import Pending
from farthing.serving.pending import Refused as Refused
from farthing.serving.punctuality import Punctuality
from farthing.serving.retries import Retries, Try
from farthing.serving.service_times import ServiceTimes
from farthing.types import Array

PATIENCE, LEAST_PATIENCE_S = 20.0, 10.0  # predicted times of a batch, until its replica counts as hung
GAP_MEMORY = 0.05  # of one arrival in the running mean of gaps
LEAST_RETRY_S = 0.1


class Scheduler:
    """One queue in front of all replicas. `served(num_items, length, seconds)` is told of each batch that was answered."""

    def __init__(
        self,
        policy: BatchPolicy,
        times: ServiceTimes,
        router: Router,
        *,
        most_waiting: int = 10_000,
        served: Callable[[int, float, float], None] = lambda *_: None,
    ) -> None:
        self.policy, self.times, self.router, self.most_waiting, self.served = policy, times, router, most_waiting, served
        self.waiting: list[Pending] = []
        self.last_progress_s, self.closed = time.monotonic(), False
        self._pool: Pool | None = None
        self._changed = asyncio.Event()
        self._gap_s, self._last_arrival_s = math.inf, -math.inf
        self._soonest_s = math.inf  # no item that waits has an earlier deadline
        self._ends_at: dict[str, list[float]] = {}  # replica -> predicted ends of what it is at
        self.retries, self.punctuality = Retries(), Punctuality()
        self._tasks: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        self._changed.set()

    @property
    def num_under_way(self) -> int:
        return len(self.waiting) + self.retries.num_items + len(self._tasks)

    def stalled_s(self) -> float:
        """Seconds for which work was pending and nothing finished. Busy is not stalled."""
        return time.monotonic() - self.last_progress_s if self.num_under_way else 0.0

    # ------------------------------------------------------------ asking

    async def answer(
        self, encoded: tuple[Array, ...], length: int, *, deadline_s: float = math.inf, priority: int = 0
    ) -> list[Array]:
        """One array for each output. `deadline_s`: seconds from now. Raises Refused; if cancelled, its place is free."""
        now = time.monotonic()
        foretold_s = self._admit(now, length, deadline_s)
        item = Pending(
            encoded=encoded,
            length=length,
            arrived_s=now,
            deadline_s=now + deadline_s,
            priority=priority,
            foretold_s=foretold_s,
            answer=asyncio.get_running_loop().create_future(),
        )
        if reason := self.retries.banned(item, now):
            raise Refused(422, f"this item made the model fail before and is not tried again: {reason}")
        self._note_arrival(now)
        if not self.num_under_way:
            self.last_progress_s = now
        if not self.waiting or self.waiting[-1].key <= item.key:  # mostly, and cheaper
            self.waiting.append(item)
        else:
            bisect.insort(self.waiting, item, key=lambda pending: pending.key)
        self._soonest_s = min(self._soonest_s, item.deadline_s)
        if self._pool is None or self._pool.has_room or now >= self._soonest_s:
            self._changed.set()
        try:
            return await item.answer
        except asyncio.CancelledError:
            if item in self.waiting:
                self.waiting.remove(item)
            raise

    def predicted_wait_s(self, length: float) -> float:
        """Until an item that came now would be answered."""
        return self._answered_in_s(self._starts_in_s(length), length)

    def _answered_in_s(self, start_s: float, length: float) -> float:
        return start_s * self.punctuality.starts.value + self._takes_s(1, length)

    def _starts_in_s(self, length: float) -> float:
        """What is under way and what waits before an item that came now; where no replica is ready, also until one is."""
        now = time.monotonic()
        under_way_s = sum(max(0.0, end - now) for ends in self._ends_at.values() for end in ends)
        num_batches = math.ceil(len(self.waiting) / self.policy.batch_size) + len(self.retries.waiting)
        mean_length = sum(item.length for item in self.waiting) / len(self.waiting) if self.waiting else length
        size = min(self.policy.batch_size, max(1, len(self.waiting)))
        batch_s = self.times.seconds(size, mean_length) + self.times.between_s
        start_s = 0.0 if self._replicas or self._pool is None else self._pool.ready_in_s
        slots = max(1, sum(replica.slots for replica in self._replicas))
        return start_s + (under_way_s + num_batches * batch_s) / slots

    def _takes_s(self, num_items: int, length: float) -> float:
        """A batch, nearly for sure where others wait for its place; as likely as not where it takes nobody's."""
        margin = self.punctuality.takes.value if len(self.waiting) > num_items else 1.0
        return self.times.seconds(num_items, length) * margin + self.times.between_s

    def _admit(self, now: float, length: int, deadline_s: float) -> float:
        """Until its batch is foretold to start; 0.0 where it has no deadline. Raises Refused."""
        if self.closed:
            raise Refused(503, "the server is stopping", 1.0)
        if not self._replicas and (self._pool is None or math.isinf(self._pool.ready_in_s)):
            raise Refused(503, "no replica is ready", 1.0)
        if deadline_s <= 0.0:
            raise Refused(504, "the deadline had passed before the request came")
        if (num_waiting := len(self.waiting) + self.retries.num_items) >= self.most_waiting:
            raise Refused(503, f"{num_waiting} items wait already", self.predicted_wait_s(length))
        if math.isinf(deadline_s):
            return 0.0
        start_s = self._starts_in_s(length)
        if (wait_s := self._answered_in_s(start_s, length)) > deadline_s:
            raise self._too_late(wait_s, deadline_s)
        return start_s

    @staticmethod
    def _too_late(wait_s: float, left_s: float) -> Refused:
        told = f"it would take {wait_s:.3g} s, its deadline is in {left_s:.3g} s"
        return Refused(503, told, max(LEAST_RETRY_S, wait_s - left_s))

    @property
    def _replicas(self) -> Sequence[Replica]:
        return self._pool.ready if self._pool is not None else ()

    def _note_arrival(self, now: float) -> None:
        gap_s = now - self._last_arrival_s
        self._last_arrival_s = now
        if math.isfinite(gap_s):
            self._gap_s = gap_s if math.isinf(self._gap_s) else (1 - GAP_MEMORY) * self._gap_s + GAP_MEMORY * gap_s

    # ------------------------------------------------------------ serving

    async def run(self, pool: Pool) -> None:
        """Give out batches until cancelled."""
        self._pool = pool
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None
        while True:
            await self._changed.wait()
            self._changed.clear()
            if timer is not None:
                timer.cancel()
            while (found := self._next()) is not None:
                if isinstance(found, float):
                    timer = loop.call_later(found, self._changed.set)
                    break
                replica, batch = found
                replica.alone = batch.alone
                task = asyncio.create_task(self._serve(replica, batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                await asyncio.sleep(0)  # the batch takes its slot before the next one is routed

    def _next(self) -> tuple[Replica, Try] | float | None:
        """A batch and its replica; or the seconds after which to look again; None: there is nothing, or no place."""
        self._expire()
        if not self._replicas and self._pool is not None and math.isinf(self._pool.ready_in_s):
            self._refuse_all(Refused(503, "no replica is ready", 1.0))
        reserved: Replica | None = None
        if self.retries.waiting:  # before all others; who finds no place has one kept free
            num_active = len(self._tasks) + len(self.retries.waiting) + len(self.waiting) // self.policy.batch_size
            if (again := self.retries.next(num_active, self._fits)) is not None:
                replica = self._choose([replica for replica in self._replicas_for(again) if _has_room(replica, again)])
                assert replica is not None
                return replica, again
            if self.retries.num_running == 0:
                places = self._replicas_for(self.retries.waiting[0])
                reserved = min(places, key=lambda replica: len(replica.waiting), default=None)
        replica = self._choose([replica for replica in self._replicas if replica.free > 0 and replica is not reserved])
        if replica is None or not self.waiting:
            return None
        now = time.monotonic()
        if (pause_s := self.close_at(now) - now) > 0:
            return pause_s
        items = self._take(now)
        return (replica, Try(items=items)) if items else None

    def _replicas_for(self, batch: Try) -> Sequence[Replica]:
        """Not where it failed, if there is another."""
        return [replica for replica in self._replicas if replica.name != batch.not_on] or self._replicas

    def _fits(self, batch: Try) -> bool:
        return any(_has_room(replica, batch) for replica in self._replicas_for(batch))

    def close_at(self, now: float) -> float:
        """When the next batch should start, a slot being free: see docs/design/012-serving.md.

        Full, stopping, or no gain in waiting (the next item is not expected before the delay ends): now. Else when its oldest
        item has waited the policy's delay, or the earliest deadline leaves no more time.
        """
        size = self.policy.batch_size
        if self.closed or len(self.waiting) >= size:
            return now
        oldest_s = min(item.arrived_s for item in self.waiting)
        close_s = oldest_s + self.policy.delay_s
        if now + self._gap_s >= close_s:
            return now
        most_s = self._takes_s(size, max(item.length for item in self.waiting))
        return min(close_s, self.waiting[0].deadline_s - most_s)

    def _expire(self) -> None:
        """Expired and cancelled items leave the queue."""
        now = time.monotonic()
        if now >= self._soonest_s:
            self.waiting = [item for item in self.waiting if not item.is_over(now)]
            self._soonest_s = min((item.deadline_s for item in self.waiting), default=math.inf)
        if self.retries.waiting:
            self.retries.expire(now)

    def _choose(self, free: Sequence[Replica]) -> Replica | None:
        if not free:
            return None
        now = time.monotonic()
        loads = [
            Load(
                name=replica.name,
                in_flight=len(replica.waiting),
                slots=replica.slots,
                seconds_left=sum(max(0.0, end - now) for end in self._ends_at.get(replica.name, ())),
            )
            for replica in free
        ]
        return free[self.router.choose(loads)]

    def _take(self, now: float) -> list[Pending]:
        """The most urgent item, and those that go with it; who cannot be answered in time any more is refused, not taken.

        No batch is so large that it makes one of its items late.
        """
        picked = self._picked()
        if math.isfinite(self._soonest_s):
            while hopeless := [item for item in picked if self._takes_s(1, item.length) > item.deadline_s - now]:
                for item in hopeless:
                    item.refuse(self._too_late(self._takes_s(1, item.length), item.deadline_s - now))
                self._leave(hopeless, now)
                picked = self._picked()
            while len(picked) > 1 and self._makes_late(picked, now):
                del picked[-1]
        self._leave(picked, now)
        return picked

    def _makes_late(self, items: Sequence[Pending], now: float) -> bool:
        takes_s = self._takes_s(len(items), max(item.length for item in items))
        return takes_s > min(item.deadline_s for item in items) - now

    def _picked(self) -> list[Pending]:
        """The most urgent item, and the next in urgency; with bucketing, of a window of those, the nearest to it in length."""
        window = self.waiting[: BUCKETING_WINDOW * self.policy.batch_size]
        return [window[i] for i in self.policy.pick([item.length for item in window])]

    def _leave(self, gone: Sequence[Pending], now: float) -> None:
        """The queue, their turn having come."""
        taken = set(map(id, gone))
        self.waiting = [item for item in self.waiting if id(item) not in taken]
        for item in gone:
            if item.foretold_s:
                self.punctuality.started(item.foretold_s, now - item.arrived_s, item.deadline_s - item.arrived_s)

    async def _serve(self, replica: Replica, batch: Try) -> None:
        items = batch.items
        length = max(item.length for item in items)
        expected_s = self.times.seconds(len(items), length)
        ends = self._ends_at.setdefault(replica.name, [])
        started = time.monotonic()
        end = started + expected_s
        ends.append(end)
        self.retries.num_running += batch.is_retry
        assert self._pool is not None
        try:
            rows, seconds = await self._pool.run(
                replica, [item.encoded for item in items], max(LEAST_PATIENCE_S, PATIENCE * expected_s)
            )
        except BatchFailed as error:
            self.retries.failed(items, replica.name, str(error), has_another=len(self._replicas) > 1)
        except ReplicaLost as error:
            self.retries.lost(batch, str(error))
        except ReplicaAway:
            self.retries.add(replace(batch, is_retry=True), first=True)
        else:
            took_s = time.monotonic() - started
            self.punctuality.takes.note(took_s / (expected_s + self.times.between_s))
            self.times.learn(len(items), length, seconds, took_s - seconds)
            self.served(len(items), length, seconds)
            self._give(replica, items, rows)
        finally:
            ends.remove(end)
            self.retries.num_running -= batch.is_retry
            replica.alone = replica.alone and not batch.alone
            self.last_progress_s = time.monotonic()
            self._changed.set()

    def _give(self, replica: Replica, items: Sequence[Pending], rows: Sequence[list[Array]]) -> None:
        assert self._pool is not None
        for item, row in zip(items, rows, strict=True):
            if not row:
                has_another = len(self._replicas) > 1
                self.retries.failed([item], replica.name, "it answered NaN or infinity", has_another=has_another)
                continue
            self._pool.outliers.succeeded(replica.name)
            if item.failed_on not in ("", replica.name):
                self._pool.blame(item.failed_on)
            if not item.answer.done():
                item.answer.set_result(row)

    async def drain(self, seconds: float) -> None:
        """Take nothing new, finish what is under way for at most so long, refuse the rest."""
        self.closed = True
        self._changed.set()
        deadline = time.monotonic() + seconds
        while (self.waiting or self.retries.waiting or self._tasks) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        refusal = Refused(503, "the server stopped before it could be served", 1.0)
        self.retries.refusal = refusal
        self._refuse_all(refusal)

    def _refuse_all(self, refusal: Refused) -> None:
        self.retries.refuse(refusal)
        for item in self.waiting:
            item.refuse(refusal)
        self.waiting = []


def _has_room(replica: Replica, batch: Try) -> bool:
    return replica.free == replica.slots if batch.alone else replica.free > 0
