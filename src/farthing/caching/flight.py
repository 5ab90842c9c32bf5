"""Single flight: who asks for what is being computed already waits for that answer."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(slots=True)
class _Trip(Generic[Value]):
    task: asyncio.Task[Value]
    waiting: int = 0


@dataclass(slots=True, kw_only=True)
class Flight(Generic[Key, Value]):
    """The work belongs to all who wait: a waiter that is cancelled leaves, and only when all have left is the work cancelled.

    An error goes to all who waited for it and is forgotten. One of `personal` (a deadline that has passed, say) concerns
    only whoever began the work: another of those who wait begins anew.
    """

    personal: tuple[type[Exception], ...] = ()
    landed: int = 0  # works that came to an end
    _trips: dict[Key, _Trip[Value]] = field(default_factory=dict)

    async def join(self, key: Key, work: Callable[[], Awaitable[Value]]) -> tuple[Value, bool]:
        """What `work` gives, and whether somebody else had begun it."""
        while True:
            trip = self._trips.get(key)
            began = trip is None
            if trip is None:
                trip = self._trips[key] = _Trip(asyncio.ensure_future(_run(work)))
                trip.task.add_done_callback(functools.partial(self._landed, key))
            trip.waiting += 1
            try:
                value = await asyncio.shield(trip.task)
            except self.personal:
                if began:
                    raise
                continue
            finally:
                trip.waiting -= 1
                if trip.waiting == 0 and not trip.task.done():
                    self._trips.pop(key, None)
                    trip.task.cancel()
            return value, not began

    def _landed(self, key: Key, task: asyncio.Task[Value]) -> None:
        self.landed += 1
        trip = self._trips.get(key)
        if trip is not None and trip.task is task:
            del self._trips[key]
        if not task.cancelled():
            task.exception()  # those who wait get it; where all have left, nobody needs a warning


async def _run(work: Callable[[], Awaitable[Value]]) -> Value:
    return await work()
