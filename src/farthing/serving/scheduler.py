"""Who is served when: admission by predicted wait against deadline, batches by earliest deadline and like length, bisection."""

import asyncio
import bisect
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from farthing.batching import BUCKETING_WINDOW, BatchPolicy
from farthing.pooling import BatchFailed, Pool, Replica, ReplicaLost
from farthing.routers.base import Load, Router
from farthing.serving.service_times import ServiceTimes
from farthing.types import Array

RETRY_SHARE, LEAST_RETRIES = 0.2, 3  # of what is under way may be second tries (Envoy's retry budget)
PATIENCE, LEAST_PATIENCE_S = 20.0, 10.0  # predicted times of a batch, until its replica counts as hung
GAP_MEMORY = 0.05  # of one arrival in the running mean of gaps
MOST_QUARANTINED = 10_000


class Refused(Exception):
    """Not served. `status`: 503 shed early, 504 its deadline passed, 422 quarantined, 500 the model failed on it."""

    def __init__(self, status: int, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after_s = status, reason, retry_after_s


@dataclass(slots=True, eq=False, kw_only=True)
class Pending:
    """One item that waits. Times are `time.monotonic()`."""

    encoded: tuple[Array, ...]
    length: int
    arrived_s: float
    deadline_s: float
    priority: int
    answer: asyncio.Future[list[Array]] = field(repr=False)
    num_losses: int = 0  # replicas that were lost while they held it alone

    @property
    def key(self) -> tuple[int, float, float]:
        return -self.priority, self.deadline_s, self.arrived_s

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(b"\0".join(part.dtype.str.encode() + part.tobytes() for part in self.encoded)).digest()


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
        self.last_progress_s = time.monotonic()
        self.closed = False
        self._pool: Pool | None = None
        self._changed = asyncio.Event()
        self._gap_s, self._last_arrival_s = math.inf, -math.inf
        self._ends_at: dict[str, list[float]] = {}  # replica -> predicted ends of what it is at
        self._quarantine: dict[bytes, str] = {}
        self._num_retries = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        self._changed.set()

    @property
    def num_under_way(self) -> int:
        return len(self.waiting) + sum(len(ends) for ends in self._ends_at.values())

    def stalled_s(self) -> float:
        """Seconds for which work was pending and nothing finished. Busy is not stalled."""
        return time.monotonic() - self.last_progress_s if self.num_under_way else 0.0

    # ------------------------------------------------------------ asking

    async def answer(
        self, encoded: tuple[Array, ...], length: int, *, deadline_s: float = math.inf, priority: int = 0
    ) -> list[Array]:
        """One array for each output. `deadline_s`: seconds from now. Raises Refused; if cancelled, its place is free."""
        now = time.monotonic()
        self._admit(now, length, deadline_s)
        item = Pending(
            encoded=encoded,
            length=length,
            arrived_s=now,
            deadline_s=now + deadline_s,
            priority=priority,
            answer=asyncio.get_running_loop().create_future(),
        )
        if self._quarantine and (reason := self._quarantine.get(item.digest)):
            raise Refused(422, f"this item made the model fail before and is not tried again: {reason}")
        self._note_arrival(now)
        bisect.insort(self.waiting, item, key=lambda pending: pending.key)
        if not self.num_under_way - 1:
            self.last_progress_s = now
        self._changed.set()
        try:
            return await item.answer
        except asyncio.CancelledError:
            if item in self.waiting:
                self.waiting.remove(item)
            raise

    def predicted_wait_s(self, length: float) -> float:
        """Until an item that came now would be answered: what is under way, what waits before it, and its own batch."""
        slots = max(1, sum(replica.slots for replica in self._replicas))
        now = time.monotonic()
        under_way_s = sum(max(0.0, end - now) for ends in self._ends_at.values() for end in ends)
        num_batches = math.ceil(len(self.waiting) / self.policy.batch_size)
        mean_length = sum(item.length for item in self.waiting) / len(self.waiting) if self.waiting else length
        queued_s = num_batches * self.times.seconds(self.policy.batch_size, mean_length) if num_batches else 0.0
        return (under_way_s + queued_s) / slots + self.times.seconds(1, length)

    def _admit(self, now: float, length: int, deadline_s: float) -> None:
        if self.closed:
            raise Refused(503, "the server is stopping", 1.0)
        if not self._replicas:
            raise Refused(503, "no replica is ready", 1.0)
        if deadline_s <= 0.0:
            raise Refused(504, "the deadline had passed before the request came")
        if len(self.waiting) >= self.most_waiting:
            raise Refused(503, f"{len(self.waiting)} items wait already", self.predicted_wait_s(length))
        if math.isfinite(deadline_s) and (wait_s := self.predicted_wait_s(length)) > deadline_s:
            raise Refused(
                503, f"it would take {wait_s:.3g} s, its deadline is in {deadline_s:.3g} s", max(0.1, wait_s - deadline_s)
            )

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
            while self._expire() and (replica := self._choose()) is not None:
                pause_s = self.close_at(time.monotonic()) - time.monotonic()
                if pause_s > 0:
                    timer = loop.call_later(pause_s, self._changed.set)
                    break
                batch = self._take()
                task = asyncio.create_task(self._serve(replica, batch))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                await asyncio.sleep(0)  # the batch takes its slot before the next one is routed

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
        most_s = self.times.seconds(size, max(item.length for item in self.waiting))
        return min(close_s, self.waiting[0].deadline_s - most_s)

    def _expire(self) -> bool:
        """Expired and cancelled items leave the queue; whether any is left."""
        now = time.monotonic()
        for item in [item for item in self.waiting if item.deadline_s <= now or item.answer.done()]:
            self.waiting.remove(item)
            if not item.answer.done():
                item.answer.set_exception(Refused(504, f"its deadline passed after {now - item.arrived_s:.3g} s in the queue"))
        return bool(self.waiting)

    def _choose(self) -> Replica | None:
        free = [replica for replica in self._replicas if replica.free > 0]
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

    def _take(self) -> list[Pending]:
        """The most urgent item, and the next in urgency; with bucketing, of a window of those, the nearest to it in length."""
        size = self.policy.batch_size
        window = self.waiting[: BUCKETING_WINDOW * size if self.policy.bucketing else size]
        picked = [window[i] for i in self.policy.pick([item.length for item in window])]
        taken = set(map(id, picked))
        self.waiting = [item for item in self.waiting if id(item) not in taken]
        return picked

    async def _serve(self, replica: Replica, batch: list[Pending]) -> None:
        length = max(item.length for item in batch)
        expected_s = self.times.seconds(len(batch), length)
        ends = self._ends_at.setdefault(replica.name, [])
        end = time.monotonic() + expected_s
        ends.append(end)
        assert self._pool is not None
        try:
            rows, seconds = await self._pool.run(
                replica, [item.encoded for item in batch], max(LEAST_PATIENCE_S, PATIENCE * expected_s)
            )
        except BatchFailed as error:
            await self._bisect(batch, str(error), blame=True)
        except ReplicaLost as error:
            if len(batch) == 1:  # a process may die of something else: only the second time it is the item
                batch[0].num_losses += 1
            await self._bisect(batch, str(error), blame=batch[0].num_losses > 1)
        else:
            self.times.learn(len(batch), length, seconds)
            self.served(len(batch), length, seconds)
            for item, row in zip(batch, rows, strict=True):
                _give(item, row)
        finally:
            ends.remove(end)
            self.last_progress_s = time.monotonic()
            self._changed.set()

    async def _bisect(self, batch: list[Pending], reason: str, *, blame: bool) -> None:
        """A batch that failed is halved until the item that fails alone is found; it is not tried again."""
        if len(batch) == 1 and blame:
            (item,) = batch
            if len(self._quarantine) < MOST_QUARANTINED:
                self._quarantine[item.digest] = reason
            _refuse(item, Refused(500, f"the model failed on this item: {reason}"))
            return
        if self.closed or self._num_retries >= max(LEAST_RETRIES, RETRY_SHARE * self.num_under_way):
            for item in batch:
                _refuse(item, Refused(503, f"its batch was lost, and too many are being tried again: {reason}", 1.0))
            return
        middle = max(1, len(batch) // 2)
        self._num_retries += 1
        try:
            for half in (batch[:middle], batch[middle:]):
                if half:
                    await self._again(half, reason)
        finally:
            self._num_retries -= 1

    async def _again(self, batch: list[Pending], reason: str) -> None:
        while (replica := self._choose()) is None:
            now = time.monotonic()
            late = [item for item in batch if item.deadline_s <= now or item.answer.done()]
            for item in late:
                _refuse(item, Refused(504, f"its deadline passed while it was tried again: {reason}"))
            batch = [item for item in batch if item not in late]
            if not batch or self.closed:
                break
            await asyncio.sleep(0.01)
        if batch and replica is not None:
            await self._serve(replica, batch)
            return
        for item in batch:
            _refuse(item, Refused(503, f"its batch was lost: {reason}", 1.0))

    async def drain(self, seconds: float) -> None:
        """Take nothing new, finish what is under way for at most so long, refuse the rest."""
        self.closed = True
        self._changed.set()
        deadline = time.monotonic() + seconds
        while (self.waiting or self._tasks) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for item in self.waiting:
            _refuse(item, Refused(503, "the server stopped before it could be served", 1.0))
        self.waiting = []


def _give(item: Pending, row: list[Array]) -> None:
    if item.answer.done():
        return
    if all(np.isfinite(value).all() for value in row if value.dtype.kind == "f"):
        item.answer.set_result(row)
    else:
        item.answer.set_exception(Refused(500, "the model answered NaN or infinity"))


def _refuse(item: Pending, refusal: Refused) -> None:
    if not item.answer.done():
        item.answer.set_exception(refusal)
