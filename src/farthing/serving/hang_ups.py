"""Clients that hang up: who waits for them is told, so that their places are free again."""

import asyncio

from farthing.serving.limits import ClientGone, Receive

UNWATCHED_S = 0.025  # most answers are there sooner, and a task that watches costs as much as a cheap answer


class Watch:
    """`with Watch(receive): await ...`: if the client hangs up meanwhile, that is cancelled and ClientGone raised."""

    __slots__ = ("_gone", "_receive", "_task", "_timer", "_watcher")

    def __init__(self, receive: Receive) -> None:
        self._receive, self._gone = receive, False
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(UNWATCHED_S, self._begin)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._timer.cancel()
        watcher, self._watcher = self._watcher, None  # no ring of objects stays for the collector to find
        if watcher is not None:
            watcher.cancel()
        if self._gone and isinstance(error, asyncio.CancelledError):
            self._task.uncancel()
            raise ClientGone from error

    def _begin(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()
