"""One version of a model, open: its replicas, its queue, and what it costs."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from farthing import pipeline as pipelines
from farthing import plugins
from farthing.artifact import Artifact
from farthing.batching import BatchPolicy
from farthing.caching.front import Front
from farthing.codec import digest
from farthing.errors import FarthingError
from farthing.pooling import Pool, Settings, pool
from farthing.routers.base import Router
from farthing.serving.forecast import Learned
from farthing.serving.metrics import Metrics
from farthing.serving.options import Options
from farthing.serving.recall import Personal, Storage, facts, fronted
from farthing.serving.receipt import Receipt
from farthing.serving.scheduler import Refused, Scheduler
from farthing.serving.service_times import ServiceTimes
from farthing.types import Array, MemberRef
from farthing.units import from_gib

TYPICAL_LENGTH = 32
NAME_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What else was said with an item."""

    tenant: str = ""
    deadline_s: float = math.inf  # from now
    priority: int = 0
    fresh: bool = False  # by the model itself, and not kept
    sticky: str = ""  # equal ones meet the same version


@dataclass(slots=True, kw_only=True, eq=False)
class Version:
    artifact: Artifact
    name: str  # the digest of the model's files: two artifacts of one version answer alike
    pool: Pool
    scheduler: Scheduler
    receipt: Receipt
    front: Front | None = None  # what was answered before

    async def answer(self, item: tuple[Any, ...], request: Request) -> list[Array]:
        """One array for each output. Raises Refused."""
        try:
            if self.front is None or request.fresh:
                outputs = await self._scheduled(item, request.deadline_s, request.priority)
            else:
                outputs = await self._recalled(self.front, item, request)
        except Refused as refusal:
            self.receipt.num_failed += refusal.status == 500
            raise
        except FarthingError as error:
            raise Refused(422, str(error)) from error
        self.receipt.num_answered += 1
        return outputs

    async def model(self, item: tuple[Any, ...], *, until_s: float, priority: int) -> list[Array]:
        """What stands behind the cache. `until_s`: by `time.monotonic()`, as one who waited for another begins anew later."""
        try:
            return await self._scheduled(item, until_s - time.monotonic(), priority)
        except Refused as refusal:
            if refusal.status in (503, 504):
                raise Personal(refusal.status, refusal.reason, refusal.retry_after_s) from refusal
            raise

    async def _scheduled(self, item: tuple[Any, ...], deadline_s: float, priority: int) -> list[Array]:
        (encoded,) = pipelines.encode(self.artifact.pipeline, [item])
        length = pipelines.length(encoded, self.artifact.pipeline)
        return await self.scheduler.answer(encoded, length, deadline_s=deadline_s, priority=priority)

    async def _recalled(self, front: Front, item: tuple[Any, ...], request: Request) -> list[Array]:
        until_s = time.monotonic() + request.deadline_s
        try:
            answer = await front.ask(
                item,
                text=item[0] if front.semantic is not None else None,
                tenant=request.tenant,
                patience_s=request.deadline_s,
                until_s=until_s,
                priority=request.priority,
            )
        except TimeoutError as error:
            raise Refused(504, "its deadline passed while an equal request was being answered") from error
        self.receipt.num_cached += answer.source != "model"
        outputs: list[Array] = answer.value
        return outputs

    def learned(self) -> dict[str, Any]:
        """From it `forecast` tells what other traffic would cost; empty before the first answer."""
        learned = Learned.of(self)
        return {} if learned is None else learned.facts()


def name_of(artifact: Artifact) -> str:
    return digest(dict(artifact.manifest.files))[:NAME_DIGITS]


@asynccontextmanager
async def opened(
    artifact: Artifact, options: Options, metrics: Metrics, storage: Storage | None = None
) -> AsyncIterator[Version]:
    """Ready and warm on entry; on exit its replicas are gone. Drain its scheduler before. Raises BuildError."""
    deployment = artifact.manifest.deployment
    num_replicas = 1 if options.inline else options.replicas or deployment.replicas
    receipt = Receipt.of(artifact.manifest, num_replicas)

    def served(num_items: int, length: float, seconds: float) -> None:
        receipt.busy_s += seconds
        metrics.batch(num_items, seconds)

    scheduler = Scheduler(
        BatchPolicy(batch_size=deployment.batch_size, delay_s=deployment.batch_delay_s, bucketing=deployment.bucketing),
        ServiceTimes.planned(artifact.manifest.service, TYPICAL_LENGTH),
        plugins.make(Router, MemberRef(name=options.router)),  # type: ignore[type-abstract]
        most_waiting=options.most_waiting,
        served=served,
    )
    rss = math.inf if options.max_rss_gib is None else from_gib(options.max_rss_gib)
    settings = Settings(num_replicas=num_replicas, max_rss_bytes=rss, inline=options.inline)
    async with pool(artifact.directory, deployment, settings, scheduler.wake) as replicas:
        receipt.started_cpu_s = time.process_time()  # opening the model is no part of a request
        scheduling = asyncio.create_task(scheduler.run(replicas))
        await asyncio.sleep(0)  # it knows its replicas before anybody asks
        try:
            version = Version(artifact=artifact, name=name_of(artifact), pool=replicas, scheduler=scheduler, receipt=receipt)
            if storage is not None:
                version.front = front = fronted(artifact, version.model, storage, receipt.usd_per_busy_s)
                receipt.cache = lambda: facts(front, storage)
            yield version
        finally:
            scheduling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await scheduling
