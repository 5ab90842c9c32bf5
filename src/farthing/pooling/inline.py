"""The model in the process that answers HTTP: no hop to another process, and no wall between the two."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from farthing.errors import BuildError, FarthingError
from farthing.pooling import frames
from farthing.pooling.pool import Pool, Settings
from farthing.pooling.replica import answered, opened
from farthing.pooling.supervised import Replica
from farthing.runtimes.base import Session
from farthing.types import Array, Deployment, Pipeline


class Inline(Pool):
    """One replica that is no process. While its model runs nothing else does: it pays where a call takes less than the way to
    another process and back, some 0.3 ms. What the model raises is one batch's failure as ever; a hang or a crash takes
    the service along.
    """

    is_inline = True

    def __init__(self, directory: Path, deployment: Deployment, settings: Settings, changed: Callable[[], None]) -> None:
        super().__init__(directory, replace(deployment, streams=1), replace(settings, num_replicas=1, pin=False), changed)
        self._opened: tuple[Pipeline, Session] | None = None

    async def start(self) -> None:
        (replica,) = self.replicas
        replica.began_s = time.monotonic()
        try:
            self._opened = await asyncio.to_thread(opened, self.directory, self.deployment)
        except (FarthingError, RuntimeError, ValueError, ImportError, OSError) as error:
            raise BuildError(f"{self.directory} cannot be opened: {type(error).__name__}: {error}") from error
        replica.state, replica.ready_at_s = "ready", time.monotonic()
        replica.start_s = replica.cold_start_s = replica.ready_at_s - replica.began_s

    async def run(
        self, replica: Replica, batch: Sequence[tuple[Array, ...]], timeout_s: float
    ) -> tuple[list[list[Array]], float]:
        assert self._opened is not None
        try:
            return replica.took(answered(*self._opened, frames.stacked(batch), len(batch)))
        finally:
            self.changed()
