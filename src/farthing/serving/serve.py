"""serve(): an artifact becomes a service; ready when warm, drained when told to stop."""

import asyncio
import contextlib
import math
import secrets
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farthing import artifact, plugins
from farthing.artifact import Artifact
from farthing.batching import BatchPolicy
from farthing.errors import JobError, MissingExtra
from farthing.pooling import Settings, pool
from farthing.routers.base import Router
from farthing.serving.limits import Limits, read_keys
from farthing.serving.receipt import Receipt
from farthing.serving.scheduler import Scheduler
from farthing.serving.service_times import ServiceTimes
from farthing.types import MemberRef
from farthing.units import from_gib

TYPICAL_LENGTH = 32
RECEIPT_EVERY_S = 60.0
VERSION_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    host: str = "127.0.0.1"
    port: int = 8000
    name: str | None = None  # of the model in its routes; default: the job's
    replicas: int | None = None  # default: the deployment's
    router: str = "least_loaded"
    deadline_s: float = math.inf  # of requests without one of their own
    drain_s: float = 30.0
    most_waiting: int = 10_000
    max_rss_gib: float | None = None  # of one replica
    keys: Path | None = None
    body_mib: float = 16.0
    certificate: Path | None = None  # TLS
    private_key: Path | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        for name in ("drain_s", "body_mib", "most_waiting", "deadline_s"):
            if not getattr(self, name) > 0:
                raise JobError(f"{name} = {getattr(self, name)} must be positive")
        if self.replicas is not None and self.replicas < 1:
            raise JobError(f"replicas = {self.replicas}: at least one is needed")
        if (self.certificate is None) != (self.private_key is None):
            raise JobError("certificate and private_key go together: give both, or neither")
        if self.router not in plugins.names(Router):  # type: ignore[type-abstract]
            raise JobError(f"router = {self.router!r} is not one of {', '.join(plugins.names(Router))}")  # type: ignore[type-abstract]


def serve(directory: Path, options: Options, tell: Callable[[str], None] = print) -> None:
    """Serve until SIGTERM or SIGINT; then readiness fails, what is under way is finished, and this returns.

    Raises ArtifactError for an artifact that was changed, BuildError if no replica can be started, MissingExtra, JobError.
    """
    loaded = artifact.load(directory, trust=options.trust)
    limits = Limits(body_bytes=int(options.body_mib * 2**20), keys=read_keys(options.keys) if options.keys else {})
    with contextlib.suppress(KeyboardInterrupt), _listening(options) as listener:
        asyncio.run(_serve(loaded, options, limits, listener, tell))


def _listening(options: Options) -> socket.socket:
    """Taken before anything is loaded, so that a port in use is told at once."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family, backlog=2048)
    except OSError as error:
        raise JobError(f"cannot listen on {options.host}:{options.port} ({error.strerror}): choose another port") from error


async def _serve(
    loaded: Artifact, options: Options, limits: Limits, listener: socket.socket, tell: Callable[[str], None]
) -> None:
    try:
        import uvicorn

        from farthing.serving.app import Service
        from farthing.serving.metrics import Metrics
    except ImportError as error:
        raise MissingExtra("uvicorn", "serve") from error
    deployment = loaded.manifest.deployment
    num_replicas = options.replicas or deployment.replicas
    receipt, metrics = Receipt.of(loaded.manifest, num_replicas), Metrics()

    def served(num_items: int, seconds: float) -> None:
        receipt.busy_s += seconds
        metrics.batch(num_items, seconds)

    scheduler = Scheduler(
        BatchPolicy(batch_size=deployment.batch_size, delay_s=deployment.batch_delay_s, bucketing=deployment.bucketing),
        ServiceTimes.planned(loaded.manifest.service, TYPICAL_LENGTH),
        plugins.make(Router, MemberRef(name=options.router)),  # type: ignore[type-abstract]
        most_waiting=options.most_waiting,
        served=served,
    )
    rss = math.inf if options.max_rss_gib is None else from_gib(options.max_rss_gib)
    settings = Settings(num_replicas=num_replicas, max_rss_bytes=rss)
    async with pool(loaded.directory, deployment, settings, scheduler.wake) as replicas:
        service = Service(
            artifact=loaded,
            name=options.name or loaded.manifest.job_name,
            version=_version(loaded),
            pool=replicas,
            scheduler=scheduler,
            receipt=receipt,
            metrics=metrics,
            limits=limits,
            deadline_s=options.deadline_s,
        )
        server = _quiet(
            uvicorn.Config(
                service,
                host=options.host,
                port=options.port,
                log_level="warning",
                access_log=False,
                lifespan="off",
                ssl_certfile=options.certificate,
                ssl_keyfile=options.private_key,
                timeout_graceful_shutdown=max(1, math.ceil(options.drain_s)),
            )
        )
        await _until_told(server, listener, service, options, tell)
    tell(receipt.line())


def _quiet(config: Any) -> Any:
    """A server that leaves signals to us: it may only stop when what is under way is finished."""
    import uvicorn

    class Quiet(uvicorn.Server):  # type: ignore[misc]
        @contextlib.contextmanager
        def capture_signals(self) -> Any:
            yield

    return Quiet(config)


async def _until_told(
    server: Any, listener: socket.socket, service: Any, options: Options, tell: Callable[[str], None]
) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    scheduling = asyncio.create_task(service.scheduler.run(service.pool))
    listening = asyncio.create_task(server.serve(sockets=[listener]))
    told = asyncio.create_task(_receipts(service.receipt, tell))
    stopping = asyncio.create_task(stop.wait())
    while not server.started and not listening.done():
        await asyncio.sleep(0.01)
    if listening.done():
        listening.result()
    scheme = "https" if options.certificate else "http"
    tell(f"serving {service.name} on {scheme}://{options.host}:{options.port}, {len(service.pool.ready)} replica(s) ready")
    done, _ = await asyncio.wait((stopping, listening, scheduling), return_when=asyncio.FIRST_COMPLETED)
    service.stopping = True  # readiness fails first; what comes meanwhile is still told so
    if scheduling in done:
        scheduling.result()
    await service.scheduler.drain(options.drain_s)
    server.should_exit = True
    for task in (told, scheduling, stopping):
        task.cancel()
    await asyncio.gather(listening, told, scheduling, stopping, return_exceptions=True)


async def _receipts(receipt: Receipt, tell: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(RECEIPT_EVERY_S)
        tell(receipt.line())


def _version(loaded: Artifact) -> str:
    """Of the model: the digest of its files. Two artifacts of one version answer alike."""
    from farthing.codec import digest

    return digest(dict(loaded.manifest.files))[:VERSION_DIGITS]


def new_key() -> str:
    return secrets.token_urlsafe(32)
