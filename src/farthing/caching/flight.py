"""Single flight: who asks for what is being computed already waits for that answer."""

import asyncio
import functools
import math
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(slots=True)
class _Trip(Generic[Value]):
    task: asyncio.Task[Value]
    waiting: list[asyncio.Future[Value]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Flight(Generic[Key, Value]):
    """The work belongs to all who wait: a waiter that is cancelled leaves, and only when all have left is the work cancelled.

    An error goes to all who waited for it and is forgotten. One of `personal` (a deadline that has passed, say) concerns
    only whoever began the work: another of those who wait begins anew.
    """

    personal: tuple[type[Exception], ...] = ()
    landed: int = 0  # works that came to an end
    _trips: dict[Key, _Trip[Value]] = field(default_factory=dict)

    async def join(
        self, key: Key, work: Callable[[], Coroutine[Any, Any, Value]], *, patience_s: float = math.inf
    ) -> tuple[Value, bool]:
        """What `work` gives, and whether somebody else had begun it. For another's work one waits `patience_s` at most, then
        raises TimeoutError; one's own keeps its time itself."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + patience_s
        while True:
            trip = self._trips.get(key)
            began = trip is None
            if trip is None:
                trip = self._trips[key] = _Trip(loop.create_task(work()))
                trip.task.add_done_callback(functools.partial(self._landed, key, trip))
            try:
                if began or until_s == math.inf:
                    return await self._wait(key, trip), not began
                async with asyncio.timeout_at(until_s):
                    return await self._wait(key, trip), True
            except self.personal:
                if began:
                    raise

    async def _wait(self, key: Key, trip: _Trip[Value]) -> Value:
        mine: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        trip.waiting.append(mine)
        try:
            return await mine
        except asyncio.CancelledError:
            trip.waiting.remove(mine)
            if not trip.waiting and not trip.task.done():
                if self._trips.get(key) is trip:
                    del self._trips[key]
                trip.task.cancel()
            raise

    def _landed(self, key: Key, trip: _Trip[Value], task: asyncio.Task[Value]) -> None:
        self.landed += 1
        if self._trips.get(key) is trip:
            del self._trips[key]
        error = None if task.cancelled() else task.exception()  # where all have left, nobody needs a warning
        for one in trip.waiting:
            if one.done():
                continue
            if task.cancelled():
                one.cancel()
            elif error is not None:
                one.set_exception(error)
                one.exception()  # told, even if its waiter is cancelled in this very moment
            else:
                one.set_result(task.result())
