"""Load for the tests of faults: clients that never pause, each on one connection, and what became of their requests."""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from farthing.testing.artifacts import expected

ANSWER_S = 60.0  # a request that has no answer by then has hung


@dataclass(slots=True)
class Seen:
    """(kind of request, status or what happened) -> how often; wrong answers are a status of their own."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    answered_s: list[float] = field(default_factory=list)  # when each innocent was answered, `time.monotonic()`

    def of(self, kind: str) -> dict[str, int]:
        return {status: count for (was, status), count in self.counts.items() if was == kind}

    def longest_gap_s(self) -> float:
        times = sorted(self.answered_s)
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)


INNOCENT = "innocent"
Draw = Callable[[int], tuple[str, Any]]  # number of the request -> its kind and body


def innocent(number: int) -> tuple[str, Any]:
    return INNOCENT, np.random.default_rng(number).integers(0, 8, 4).tolist()


async def drive(port: int, seen: Seen, stop: asyncio.Event, draw: Draw = innocent, num_clients: int = 8) -> None:
    """Until `stop`; a client goes on with a new connection where one breaks."""
    numbers = iter(range(10**9))
    await asyncio.gather(*(_client(port, seen, stop, draw, numbers) for _ in range(num_clients)))


async def _client(port: int, seen: Seen, stop: asyncio.Event, draw: Draw, numbers: Any) -> None:
    while not stop.is_set():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while not stop.is_set():
                kind, body = draw(next(numbers))
                seen.counts[kind, await asyncio.wait_for(_ask(reader, writer, kind, body), ANSWER_S)] += 1
                if kind == INNOCENT:
                    seen.answered_s.append(time.monotonic())
        except (OSError, asyncio.IncompleteReadError):
            seen.counts[kind, "hung up"] += 1
        except TimeoutError:
            seen.counts[kind, "no answer"] += 1
        finally:
            writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str, body: Any) -> str:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    writer.write(b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(data) + data)
    head = await reader.readuntil(b"\r\n\r\n")
    told = json.loads(await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0])))
    status = head[9:12].decode()
    if status == "200" and kind == INNOCENT and not np.allclose(told["answer"], expected(np.array([body]))[0], rtol=1e-4):
        return "wrong"
    return status
