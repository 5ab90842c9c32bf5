"""The supervisor: starts replicas, restarts only the one that died, recycles the one that grew, stops them all in order."""

import asyncio
import contextlib
import itertools
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from farthing.errors import BuildError
from farthing.pooling import frames
from farthing.pooling.outliers import Outliers
from farthing.pooling.supervised import Replica, spawned
from farthing.types import Array, Deployment
from farthing.units import gib

WATCH_S = 1.0
STABLE_S = 60.0  # a life of so long was no crash at the start
RECYCLED = "recycled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    num_replicas: int = 1
    max_rss_bytes: float = float("inf")  # beyond it a replica is drained and started anew
    start_timeout_s: float = 120.0
    backoff_s: float = 0.5  # before the first restart; doubled with each crash
    most_backoff_s: float = 30.0
    most_crashes: int = 5  # one after the other: then the breaker opens, and the replica stays down for `most_backoff_s`
    inline: bool = False  # no processes: the model runs in this one
    pin: bool = True  # each replica to cores of its own, where there are enough


class Pool:
    """The replicas of one artifact. `changed` is called whenever a slot may have become free."""

    is_inline = False  # whether what the model takes, this process takes

    def __init__(self, directory: Path, deployment: Deployment, settings: Settings, changed: Callable[[], None]) -> None:
        self.directory, self.deployment, self.settings, self.changed = directory, deployment, settings, changed
        cores = _cores(settings, deployment.threads * deployment.streams)
        self.replicas = [Replica(name=f"replica-{i}", cores=own, slots=deployment.streams) for i, own in enumerate(cores)]
        self.outliers = Outliers()
        self._numbers = itertools.count()
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False

    @property
    def ready(self) -> list[Replica]:
        """Those that take work: not the ejected ones, unless there is no other."""
        ready = [replica for replica in self.replicas if replica.state == "ready"]
        if not self.outliers.records:
            return ready
        return [replica for replica in ready if not self.is_ejected(replica)] or ready

    @property
    def has_room(self) -> bool:
        """As `ready` and `free` say, for less: it is asked with each item."""
        return any(replica.free > 0 for replica in self.replicas)

    @property
    def ready_in_s(self) -> float:
        """Until the next replica is ready, as long as its last start took; infinite where none that has served is coming."""
        now = time.monotonic()
        coming = [one for one in self.replicas if one.state in ("starting", "down") and one.start_s and one.num_crashes < 2]
        return min((max(0.0, one.began_s + one.start_s - now) for one in coming), default=math.inf)

    def is_ejected(self, replica: Replica) -> bool:
        return self.outliers.is_ejected(replica.name, time.monotonic())

    def blame(self, name: str) -> None:
        """This replica failed on what another one answered. If it is ejected for it, it is started anew meanwhile."""
        ready = [replica.name for replica in self.replicas if replica.state == "ready"]
        if self.outliers.failed(name, ready, time.monotonic()):
            for replica in self.replicas:
                replica.worn = replica.worn or replica.name == name

    @property
    def num_in_flight(self) -> int:
        return sum(len(replica.waiting) for replica in self.replicas)

    @property
    def cpu_s(self) -> float:
        """Core-seconds that the replicas that are ready used since they were."""
        total = 0.0
        for replica in self.replicas:
            if replica.state == "ready" and replica.process is not None:
                with contextlib.suppress(psutil.Error):
                    total += _cpu_s(psutil.Process(replica.process.pid)) - replica.warm_cpu_s
        return total

    async def run(
        self, replica: Replica, batch: Sequence[tuple[Array, ...]], timeout_s: float
    ) -> tuple[list[list[Array]], float]:
        try:
            return await replica.run(next(self._numbers), batch, timeout_s)
        finally:
            self.changed()

    async def start(self) -> None:
        """Come back when the first replica is ready. Raises BuildError if none can be started."""
        self._keepers = [asyncio.create_task(self._keep(replica)) for replica in self.replicas]
        while not self.ready:
            await asyncio.sleep(0.01)
            if all(replica.state in ("down", "broken") for replica in self.replicas):
                reason = self.replicas[0].reason
                await self.stop()
                raise BuildError(f"no replica of {self.directory} can be started: {reason}")

    async def stop(self, drain_s: float = 0.0) -> None:
        """Let what is in flight finish for at most `drain_s`, then end every process."""
        deadline = time.monotonic() + drain_s
        while self.num_in_flight and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        self._stopping = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for replica in self.replicas:
            replica.kill("stopped")
            replica.state = "stopped"
            replica.lose("the server stopped")
            if replica.process is not None:
                replica.process.wait()

    async def _keep(self, replica: Replica) -> None:
        """Start it, watch it, start it again: for ever, but ever more slowly."""
        while True:
            replica.began_s = time.monotonic()
            try:
                await self._live(replica)
            finally:
                replica.kill(replica.reason or "its socket closed")
                replica.state = "down"
                replica.lose(f"{replica.name} died: {replica.reason or 'its socket closed'}")
            now = time.monotonic()
            pause_s = self._pause_s(replica, now)
            replica.began_s = now + pause_s
            if not pause_s:
                replica.state = "starting"
            self.changed()
            if replica.process is not None:
                await asyncio.to_thread(replica.process.wait)
            await asyncio.sleep(pause_s)
            replica.num_restarts += replica.reason != RECYCLED
            replica.state = "starting"

    def _pause_s(self, replica: Replica, now: float) -> float:
        """Before the next life. Only lives that came to nothing count as a crash loop: what served is needed again at once."""
        if replica.num_batches or now - replica.ready_at_s > STABLE_S or replica.reason == RECYCLED:
            replica.num_crashes = 0
            return 0.0
        replica.num_crashes += 1
        if replica.num_crashes >= self.settings.most_crashes:
            replica.state = "broken"
            return self.settings.most_backoff_s
        return min(self.settings.most_backoff_s, self.settings.backoff_s * 2.0 ** (replica.num_crashes - 1))

    async def _live(self, replica: Replica) -> None:
        """One life of the process: returns when it is over."""
        replica.num_batches, replica.worn, replica.process, replica.reason = 0, False, None, ""
        replica.ready_at_s = math.inf
        try:
            replica.process, ours = spawned()
        except OSError as error:  # no memory, no more processes or files: later there may be
            replica.reason = f"cannot be started: {error}"
            return
        replica.channel = channel = await frames.connected(ours)
        watcher = asyncio.create_task(self._watch(replica))
        try:
            channel.send((self.directory, self.deployment, replica.cores))
            kind, value = await channel.first(self.settings.start_timeout_s)
            channel.got = replica.answered
            if kind == "failed":
                replica.reason = value
                return
            process = psutil.Process(replica.process.pid)
            replica.warm_cpu_s = _cpu_s(process)
            if (rss_bytes := process.memory_info().rss) > self.settings.max_rss_bytes:
                replica.reason = f"holds {gib(rss_bytes):.3g} GiB when just warm, which is more than it may (max_rss_gib)"
                return
            replica.state, replica.cold_start_s = "ready", value
            replica.ready_at_s = time.monotonic()
            replica.start_s = replica.ready_at_s - replica.began_s
            self.changed()
            await channel.closed
            raise EOFError
        except (EOFError, psutil.Error):
            code = replica.process.poll()
            replica.reason = replica.reason or (f"ended with code {code}" if code is not None else "closed its socket")
        except TimeoutError:
            replica.reason = f"not ready after {self.settings.start_timeout_s:g} s"
        finally:
            watcher.cancel()
            channel.close()

    async def _watch(self, replica: Replica) -> None:
        """End a replica that somebody stopped; drain and end one that has grown past its cap or is worn."""
        assert replica.process is not None
        pid = replica.process.pid
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                process = psutil.Process(pid)
                status, rss_bytes = process.status(), process.memory_info().rss
            except psutil.Error:  # it ended: whoever reads its socket knows
                return
            if status == psutil.STATUS_STOPPED:
                replica.kill("was stopped by a signal")
            elif (replica.worn or rss_bytes > self.settings.max_rss_bytes) and self._can_spare(replica):
                replica.state = "draining"
                while replica.waiting:
                    await asyncio.sleep(0.01)
                replica.kill(RECYCLED)

    def _can_spare(self, replica: Replica) -> bool:
        """It is ready, and so is another, or none is being started that will be."""
        others = [other for other in self.replicas if other is not replica]
        coming = any(
            other.state in ("starting", "draining") or (other.state == "down" and not other.num_crashes) for other in others
        )
        return replica.state == "ready" and (any(other.state == "ready" for other in others) or not coming)


@asynccontextmanager
async def pool(
    directory: Path, deployment: Deployment, settings: Settings, changed: Callable[[], None] = lambda: None
) -> AsyncIterator[Pool]:
    """The replicas of the model in `directory`, ready on entry, gone on exit. Raises BuildError if none can be started."""
    from farthing.pooling.inline import Inline

    made = (Inline if settings.inline else Pool)(directory, deployment, settings, changed)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _cores(settings: Settings, needed: int) -> list[frozenset[int]]:
    """Cores of its own for each replica; none where there are not enough for all, or pinning is off."""
    there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not settings.pin or needed * settings.num_replicas > len(there):
        return [frozenset()] * settings.num_replicas
    return [frozenset(there[i * needed : (i + 1) * needed]) for i in range(settings.num_replicas)]
