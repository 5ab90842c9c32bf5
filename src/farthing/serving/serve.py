"""serve(): an artifact becomes a service; ready when warm, drained when told to stop."""

import asyncio
import contextlib
import gc
import secrets
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from farthing import artifact
from farthing.artifact import Artifact
from farthing.errors import JobError, MissingExtra
from farthing.serving.fronts import front
from farthing.serving.limits import Limits, read_keys
from farthing.serving.options import Options
from farthing.serving.recall import stored

RECEIPT_EVERY_S = 60.0
YOUNG_OBJECTS = 10_000  # until the collector looks at them: a request makes a few dozen, nearly all of which end with it


def serve(directory: Path, options: Options, tell: Callable[[str], None] = print) -> None:
    """Serve until SIGTERM or SIGINT; then readiness fails, what is under way is finished, and this returns.

    Raises ArtifactError for an artifact that was changed, BuildError if no replica can be started, MissingExtra, JobError.
    """
    _check_tls(options)
    loaded = artifact.load(directory, trust=options.trust)
    limits = Limits(body_bytes=int(options.body_mib * 2**20), keys=read_keys(options.keys) if options.keys else {})
    with (
        contextlib.suppress(KeyboardInterrupt),
        listening(options.host, options.port) as listener,
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


def _check_tls(options: Options) -> None:
    """Raises JobError: before anything is loaded, and not by a traceback of the server."""
    if options.certificate is None or options.private_key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(options.certificate, options.private_key)
    except OSError as error:  # SSLError is one
        raise JobError(
            f"TLS: {options.certificate} and {options.private_key} are no certificate and its private key in PEM: {error}"
        ) from error


def listening(host: str, port: int) -> socket.socket:
    """Taken before anything is loaded, so that a port in use is told at once. Raises JobError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise JobError(f"cannot listen on {host}:{port} ({error.strerror}): choose another host or port") from error


async def _serve(
    loaded: Artifact, options: Options, limits: Limits, listener: socket.socket, tell: Callable[[str], None]
) -> None:
    try:
        from farthing.serving.app import Service
        from farthing.serving.embedding import near
        from farthing.serving.metrics import Metrics
        from farthing.serving.standing import Standing
    except ImportError as error:
        raise MissingExtra("uvicorn", "serve") from error
    async with near(loaded, options) as neighbours, stored(options.caching, neighbours) as storage:
        standing = await Standing.restored(loaded, options, metrics := Metrics(), tell, storage)
        try:
            service = Service(
                name=options.name or loaded.manifest.job_name,
                versions=standing.versions,
                metrics=metrics,
                limits=limits,
                deadline_s=options.deadline_s,
            )
            await _until_told(service, listener, options, standing)
            tell(service.version.receipt.line())
        finally:
            await standing.close()


async def _until_told(service: Any, listener: socket.socket, options: Options, standing: Any) -> None:
    tell = standing.tell
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    servers = [front(service, options, tls=True)]
    sockets = [listener]
    if options.admin_port is not None and options.admin_keys is not None:
        from farthing.serving.admin import Admin

        admin = Admin(versions=standing.versions, keys=read_keys(options.admin_keys), trust=options.trust)
        servers.append(front(admin, options, tls=False))
        sockets.append(listening("127.0.0.1", options.admin_port))
    running = [asyncio.create_task(server.serve(sockets=[own])) for server, own in zip(servers, sockets, strict=True)]
    told = asyncio.create_task(_receipts(service, tell))
    stopping = asyncio.create_task(stop.wait())
    while not all(server.started for server in servers) and not any(task.done() for task in running):
        await asyncio.sleep(0.01)
    gc.collect()
    gc.freeze()  # what is there now stays: looking through it again would stop all requests for milliseconds
    gc.set_threshold(YOUNG_OBJECTS)
    scheme, num_ready = "https" if options.certificate else "http", len(service.version.pool.ready)
    tell(f"serving {service.name} on {scheme}://{options.host}:{options.port}, {num_ready} replica(s) ready")
    await asyncio.wait((stopping, *running), return_when=asyncio.FIRST_COMPLETED)
    service.stopping = True  # readiness fails first; what comes meanwhile is still told so
    await standing.versions.drain()
    for server in servers:
        server.should_exit = True
    for task in (told, stopping):
        task.cancel()
    await asyncio.gather(*running, told, stopping, return_exceptions=True)
    for task in running:
        task.result()


async def _receipts(service: Any, tell: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(RECEIPT_EVERY_S)
        tell(service.version.receipt.line())


def new_key() -> str:
    return secrets.token_urlsafe(32)
