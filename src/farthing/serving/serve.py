"""serve(): an artifact becomes a service; ready when warm, drained when told to stop."""

import asyncio
import contextlib
import math
import secrets
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from farthing import artifact
from farthing.artifact import Artifact
from farthing.errors import JobError, MissingExtra
from farthing.serving.limits import Limits, read_keys
from farthing.serving.options import Options
from farthing.serving.receipt import Receipt

RECEIPT_EVERY_S = 60.0


def serve(directory: Path, options: Options, tell: Callable[[str], None] = print) -> None:
    """Serve until SIGTERM or SIGINT; then readiness fails, what is under way is finished, and this returns.

    Raises ArtifactError for an artifact that was changed, BuildError if no replica can be started, MissingExtra, JobError.
    """
    loaded = artifact.load(directory, trust=options.trust)
    limits = Limits(body_bytes=int(options.body_mib * 2**20), keys=read_keys(options.keys) if options.keys else {})
    with (
        contextlib.suppress(KeyboardInterrupt),
        _listening(options) as listener,
        asyncio.Runner(loop_factory=_loop()) as runner,
    ):
        runner.run(_serve(loaded, options, limits, listener, tell))


def _loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop where it is installed: it halves what a request costs."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


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
        from farthing.serving.version import opened
    except ImportError as error:
        raise MissingExtra("uvicorn", "serve") from error
    async with opened(loaded, options, metrics := Metrics()) as version:
        service = Service(
            name=options.name or loaded.manifest.job_name,
            version=version,
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
                proxy_headers=False,  # nothing here asks where a request comes from
                ssl_certfile=options.certificate,
                ssl_keyfile=options.private_key,
                timeout_graceful_shutdown=max(1, math.ceil(options.drain_s)),
            )
        )
        await _until_told(server, listener, service, options, tell)
        tell(version.receipt.line())


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
    listening = asyncio.create_task(server.serve(sockets=[listener]))
    told = asyncio.create_task(_receipts(service.version.receipt, tell))
    stopping = asyncio.create_task(stop.wait())
    while not server.started and not listening.done():
        await asyncio.sleep(0.01)
    if listening.done():
        listening.result()
    scheme, num_ready = "https" if options.certificate else "http", len(service.version.pool.ready)
    tell(f"serving {service.name} on {scheme}://{options.host}:{options.port}, {num_ready} replica(s) ready")
    await asyncio.wait((stopping, listening), return_when=asyncio.FIRST_COMPLETED)
    service.stopping = True  # readiness fails first; what comes meanwhile is still told so
    await service.version.scheduler.drain(options.drain_s)
    server.should_exit = True
    for task in (told, stopping):
        task.cancel()
    await asyncio.gather(listening, told, stopping, return_exceptions=True)


async def _receipts(receipt: Receipt, tell: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(RECEIPT_EVERY_S)
        tell(receipt.line())


def new_key() -> str:
    return secrets.token_urlsafe(32)
