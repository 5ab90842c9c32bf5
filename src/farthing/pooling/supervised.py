"""One replica as its supervisor sees it: a process, the socket to it, and what it is at."""

import asyncio
import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from farthing.pooling import frames
from farthing.types import Array

Reply = tuple[str, Any, list[int], float]  # answers or failed, arrays or why, items without answer, seconds


class ReplicaLost(Exception):
    """The process died or hung while it held this batch."""


class ReplicaAway(Exception):
    """The replica takes no work any more; this batch never reached it."""


class BatchFailed(Exception):
    """The model raised on this batch, or answered in another shape."""


@dataclass(slots=True, eq=False)
class Replica:
    """One process and what it is at. `state`: starting, ready, draining, down (waiting to be started), broken, stopped."""

    name: str
    cores: frozenset[int]
    slots: int
    state: str = "starting"
    process: subprocess.Popen[bytes] | None = None
    cold_start_s: float = 0.0  # of the model alone, as the replica tells it
    began_s: float = 0.0  # when its process was started, `time.monotonic()`
    ready_at_s: float = math.inf
    start_s: float = 0.0  # from its start until it was ready, in its last life
    reason: str = ""
    num_restarts: int = 0
    busy_s: float = 0.0  # stream-seconds
    warm_cpu_s: float = 0.0  # what its process had used when it was ready
    num_batches: int = 0  # answered in this life
    alone: bool = False  # it holds a batch beside which nothing may run
    worn: bool = False  # to be drained and started anew
    num_crashes: int = 0  # one after the other, none of which answered anything
    waiting: dict[int, asyncio.Future[Reply]] = field(default_factory=dict)
    channel: frames.Channel | None = None

    @property
    def free(self) -> int:
        return self.slots - len(self.waiting) if self.state == "ready" and not self.alone else 0

    async def run(self, number: int, batch: Sequence[tuple[Array, ...]], timeout_s: float) -> tuple[list[list[Array]], float]:
        """(rows of every output for each item, seconds in the model). No rows: its answer is NaN or infinite. A hang is a loss.

        Raises BatchFailed, ReplicaLost, ReplicaAway.
        """
        if self.state != "ready" or self.channel is None:
            raise ReplicaAway(f"{self.name} is {self.state}")
        loop = asyncio.get_running_loop()
        reply = self.waiting[number] = loop.create_future()
        timer = loop.call_later(timeout_s, self._hung, number, timeout_s)
        self.channel.send((number, len(batch), frames.stacked(batch)))
        try:
            kind, value, bad, seconds = await reply
        finally:
            timer.cancel()
            self.waiting.pop(number, None)
        return self.took((kind, value, bad, seconds))

    def took(self, reply: Reply) -> tuple[list[list[Array]], float]:
        """As `run` answers. Raises BatchFailed."""
        kind, value, bad, seconds = reply
        self.busy_s += seconds
        self.num_batches += 1
        if kind == "failed":
            raise BatchFailed(value)
        rows = [list(row) for row in zip(*value, strict=True)]
        for i in bad:
            rows[i] = []
        return rows, seconds

    def answered(self, reply: tuple[int, str, Any, list[int], float]) -> None:
        """What came over its channel."""
        future = self.waiting.get(reply[0])
        if future is not None and not future.done():
            future.set_result(reply[1:])

    def _hung(self, number: int, timeout_s: float) -> None:
        self.kill(f"nothing came for {timeout_s:.3g} s")
        future = self.waiting.get(number)
        if future is not None and not future.done():
            future.set_exception(ReplicaLost(f"{self.name} gave no answer within {timeout_s:.3g} s"))

    def kill(self, reason: str) -> None:
        self.reason = reason
        if self.state in ("ready", "draining"):
            self.state = "down"
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def lose(self, reason: str) -> None:
        """Everything that it held is lost; whoever waits for it may ask another."""
        for reply in self.waiting.values():
            if not reply.done():
                reply.set_exception(ReplicaLost(reason))
        self.waiting.clear()


def spawned() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A new process and our end of the socket to it. Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "farthing.pooling.replica", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a signal to the server is for the server: it drains first
            )
        except OSError:
            ours.close()
            raise
    return process, ours
