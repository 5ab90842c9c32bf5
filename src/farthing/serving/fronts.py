"""What speaks HTTP before the service: uvicorn, or granian. Signals stay ours: it stops when what is under way is finished."""

import asyncio
import contextlib
import functools
import math
import socket
from collections.abc import Callable
from typing import Any, Protocol

from farthing.errors import MissingExtra
from farthing.serving.options import Options

BACKLOG = 2048


class Front(Protocol):
    started: bool
    should_exit: bool

    async def serve(self, sockets: list[socket.socket]) -> None:
        """Listen on these until `should_exit`, then end what is under way."""


def front(application: Any, options: Options, *, tls: bool) -> Front:
    """The one that `options.http` names. Raises MissingExtra."""
    certificate, private_key = (options.certificate, options.private_key) if tls else (None, None)
    if options.http == "granian":
        return _Granian(application, certificate, private_key)
    return _uvicorn(application, certificate, private_key, drain_s=options.drain_s)


def _uvicorn(application: Any, certificate: Any, private_key: Any, *, drain_s: float) -> Front:
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtra("uvicorn", "serve") from error

    class Quiet(uvicorn.Server):  # type: ignore[misc]
        @contextlib.contextmanager
        def capture_signals(self) -> Any:
            yield

    config = uvicorn.Config(
        application,
        log_level="warning",
        access_log=False,
        lifespan="off",
        proxy_headers=False,  # nothing here asks where a request comes from
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
        timeout_graceful_shutdown=max(1, math.ceil(drain_s)),
    )
    made: Front = Quiet(config)
    return made


class _Granian:
    """granian embedded in this loop. It binds an address itself, so that the socket that held the port is closed before."""

    def __init__(self, application: Any, certificate: Any, private_key: Any) -> None:
        try:
            from granian.constants import Interfaces
            from granian.server.embed import Server
        except ImportError as error:
            raise MissingExtra("granian", "granian") from error
        self._make: Callable[[str, int], Any] = functools.partial(
            Server, application, interface=Interfaces.ASGINL, websockets=False, backlog=BACKLOG, log_enabled=False,
            ssl_cert=certificate, ssl_key=private_key,
        )  # fmt: skip
        self._server: Any = None
        self.started = False

    @property
    def should_exit(self) -> bool:
        return self._server is not None and bool(self._server.interrupt_signal)

    @should_exit.setter
    def should_exit(self, wanted: bool) -> None:
        if wanted and self._server is not None:
            self._server.stop()

    async def serve(self, sockets: list[socket.socket]) -> None:
        (listener,) = sockets
        host, port = listener.getsockname()[:2]
        listener.close()
        self._server = self._make(host, port)
        listening = asyncio.create_task(self._until_it_listens(host, port))
        try:
            await self._server.serve()
        finally:
            listening.cancel()

    async def _until_it_listens(self, host: str, port: int) -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                break
            await asyncio.sleep(0.01)
        self.started = True
