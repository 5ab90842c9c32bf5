"""HTTP/1.1 over keep-alive connections, as little work a request as asyncio allows; httptools reads the answers."""

import asyncio
import errno
import ssl
from collections import deque
from collections.abc import Callable

import httptools

from farthing.bench.load import Endpoint

IDLE_S = 1.5  # an older idle connection is closed by us: servers close theirs after 2 to 5 s, which would look like a hang-up
OURS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}  # what the generator ran out of
OUT_OF_RESOURCES = "generator"


class Request:
    __slots__ = ("at_s", "connection", "opening", "over", "payload")

    def __init__(self, at_s: float, payload: bytes) -> None:
        self.at_s, self.payload = at_s, payload
        self.connection: Connection | None = None
        self.opening: asyncio.Task[None] | None = None
        self.over = False


class Connection(asyncio.Protocol):
    """One connection; at most one request under way (no pipelining: a server would answer them one after the other)."""

    __slots__ = ("_framed", "_headed", "_parser", "_pool", "counted", "idle_since_s", "request", "transport")

    def __init__(self, pool: "Clients") -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._framed = self._headed = self.counted = False
        self.request: Request | None = None
        self.transport: asyncio.Transport | None = None
        self.idle_since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def begin(self, request: Request) -> None:
        assert self.transport is not None
        self.request, request.connection = request, self
        self._framed = self._headed = False
        self.transport.write(request.payload)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # a mistake of ours, not of the server
        except httptools.HttpParserError:
            self._finish("bad answer", reusable=False)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        self._headed = True

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:  # below that, only news on the way to the answer
            self._finish(str(status), reusable=self._parser.should_keep_alive())

    def connection_lost(self, error: Exception | None) -> None:
        whole = error is None and self._headed and not self._framed  # such an answer ends with its connection
        self._finish(str(self._parser.get_status_code()) if whole else "hung up", reusable=False)
        if self.counted:
            self._pool.gone()

    def _finish(self, outcome: str, *, reusable: bool) -> None:
        request, self.request = self.request, None
        if not reusable and self.transport is not None:
            self.transport.abort()
        if request is not None:
            request.connection = None
            self._pool.finished(request, outcome)
            if reusable:
                self._pool.free(self)


class Clients:
    """As many connections as there are requests under way, up to a limit; beyond it requests wait, and are counted.

    They take turns, so that a server of several processes sees all of them.
    """

    def __init__(self, target: Endpoint, address: str, limit: int, finished: Callable[[Request, str], None]) -> None:
        self._target, self._address, self._limit = target, address, limit
        self._tls = ssl.create_default_context() if target.secure else None
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Connection] = deque()
        self._waiting: deque[Request] = deque()
        self._num_open = 0
        self.finished = finished
        self.num_opened = self.num_waited = 0

    def send(self, request: Request) -> None:
        now_s = self._loop.time()
        while self._idle:
            connection = self._idle.popleft()
            if connection.transport is None or connection.transport.is_closing():
                continue
            if now_s - connection.idle_since_s < IDLE_S:
                connection.begin(request)
                return
            connection.transport.abort()
        if self._num_open < self._limit:
            self._open(request)
        else:
            self.num_waited += 1
            self._waiting.append(request)

    def give_up(self, request: Request) -> None:
        """The request is over for us: its connection, on which an answer may still come, is of no more use."""
        if request.opening is not None:
            request.opening.cancel()
        connection, request.connection = request.connection, None
        if connection is not None and connection.transport is not None:
            connection.request = None
            connection.transport.abort()

    def free(self, connection: Connection) -> None:
        while self._waiting:
            request = self._waiting.popleft()
            if not request.over:
                connection.begin(request)
                return
        connection.idle_since_s = self._loop.time()
        self._idle.append(connection)

    def gone(self) -> None:
        """A connection is no more, or was never made."""
        self._num_open -= 1
        while self._waiting and self._num_open < self._limit:
            request = self._waiting.popleft()
            if not request.over:
                self._open(request)

    def close(self) -> None:
        for connection in self._idle:
            if connection.transport is not None:
                connection.transport.abort()

    def _open(self, request: Request) -> None:
        self._num_open += 1
        self.num_opened += 1
        request.opening = self._loop.create_task(self._connect(request))
        request.opening.add_done_callback(lambda task: self.gone() if task.cancelled() else None)

    async def _connect(self, request: Request) -> None:
        name = self._target.host if self._tls else None
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self), self._address, self._target.port, ssl=self._tls, server_hostname=name
            )
        except OSError as error:
            self._failed(request, _named(error))
            return
        request.opening = None
        if connection.transport is None or connection.transport.is_closing():
            self._failed(request, "hung up")
            return
        connection.counted = True
        if request.over:
            self.free(connection)
        else:
            connection.begin(request)

    def _failed(self, request: Request, outcome: str) -> None:
        request.opening = None
        self.gone()
        self.finished(request, outcome)


def _named(error: OSError) -> str:
    if error.errno in OURS:
        return OUT_OF_RESOURCES
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    return "refused" if isinstance(error, ConnectionRefusedError) else "no connection"
