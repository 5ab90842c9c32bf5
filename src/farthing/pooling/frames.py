"""How the supervisor and its own replicas talk: a length, then a pickle, over a socket that nobody else holds.

Items travel as one array for each input, answers as one for each output: an array costs microseconds to pickle, of any size.
"""

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from farthing.types import Array

_LENGTH = struct.Struct("!Q")
_RECEIVED = 1 << 18
Stacked = list[tuple[list[tuple[int, ...]], Array]]  # of each input: the shape of every item (one where all agree), all values


def pack(value: Any) -> bytes:
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


def stacked(batch: Sequence[tuple[Array, ...]]) -> Stacked:
    """`unstacked(stacked(batch), len(batch))` are the same arrays."""
    found: Stacked = []
    for values in zip(*batch, strict=True):
        shapes = [value.shape for value in values]
        flat = np.concatenate([value.ravel() for value in values])
        found.append((shapes[:1] if shapes.count(shapes[0]) == len(shapes) else shapes, flat))
    return found


def unstacked(inputs: Stacked, num_items: int) -> list[tuple[Array, ...]]:
    columns = []
    for shapes, flat in inputs:
        if len(shapes) == 1:
            columns.append(list(flat.reshape(num_items, *shapes[0])))
        else:
            ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
            columns.append([part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True)])
    return list(zip(*columns, strict=True))


class Channel(asyncio.Protocol):
    """The supervisor's end. Each value that comes is given to `got`; `closed` is done when the other side is gone."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.got: Callable[[Any], None] = lambda _: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of its subclasses

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (found := _first(self._buffer)) is not None:
            self.got(found)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def send(self, value: Any) -> None:
        assert self._transport is not None
        self._transport.write(pack(value))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def first(self, timeout_s: float) -> Any:
        """The next value. Raises EOFError where the other side is gone, TimeoutError."""
        loop = asyncio.get_running_loop()
        value: asyncio.Future[Any] = loop.create_future()
        self.got = lambda given: None if value.done() else value.set_result(given)
        await asyncio.wait((value, self.closed), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if value.done():
            return value.result()
        value.cancel()
        raise EOFError if self.closed.done() else TimeoutError


async def connected(ours: socket.socket) -> Channel:
    _, channel = await asyncio.get_running_loop().create_unix_connection(Channel, sock=ours)
    return channel


class Reader:
    """The replica's end, blocking."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel, self._buffer = channel, bytearray()

    def next(self) -> Any:
        """Raises EOFError where the other side is gone."""
        while (found := _first(self._buffer)) is None:
            part = self._channel.recv(_RECEIVED)
            if not part:
                raise EOFError
            self._buffer += part
        return found


def _first(buffer: bytearray) -> Any:
    """Take the first whole value (never None) from `buffer`; None: it is not all there yet."""
    if len(buffer) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack_from(buffer)
    end = _LENGTH.size + size
    if len(buffer) < end:
        return None
    value = pickle.loads(memoryview(buffer)[_LENGTH.size : end].tobytes())
    del buffer[:end]
    return value
