"""What a worker does with its build: open it, answer, be timed. Every function here runs inside a worker process."""

import gc
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from farthing import pipeline as pipelines
from farthing import plugins
from farthing.errors import WrongOutput
from farthing.runtimes.base import Runtime, Session, warm
from farthing.types import Array, Feeds, MemberRef, Pipeline

State = dict[str, Any]
Shape = tuple[int, int]  # batch size, length
REAL_ITEMS, REAL_BATCHES = 128, 16  # that stand for all items of about one length


def open_build(state: State, directory: Path, runtime: MemberRef, threads: int, streams: int, device_kind: str) -> float:
    """Open (or reopen) the build in this worker; seconds until it gave its first answer: the cold start."""
    started = time.perf_counter()
    if "session" in state:
        state.pop("session").close()
        gc.collect()
    pipeline = pipelines.read(directory)
    member = plugins.make(Runtime, runtime)  # type: ignore[type-abstract]
    session = member.open(pipeline, threads=threads, streams=streams, device_kind=device_kind)
    state |= {"pipeline": pipeline, "session": session, "streams": streams, "runtime": member}
    state.pop("items", None)
    session.run(pipelines.synthetic(pipeline, 1, 8))
    return time.perf_counter() - started


def make_ready(state: State, most_items: int) -> None:
    """Warm, as a replica is before it serves batches of up to so many."""
    pipeline, session = _opened(state)
    warm(session, pipeline, state["runtime"], most_items)


def answers(state: State, requests: Sequence[tuple[Any, ...]], batch_size: int) -> Array:
    """First output for every request (n, ...), in their order; like lengths run together. Raises WrongOutput for NaN or inf."""
    pipeline, session = _opened(state)
    encoded = pipelines.encode(pipeline, requests)
    order = sorted(range(len(encoded)), key=lambda i: pipelines.length(encoded[i], pipeline))
    rows: list[Array | None] = [None] * len(encoded)
    for start in range(0, len(order), batch_size):
        positions = order[start : start + batch_size]
        output = session.run(pipelines.collate(pipeline, [encoded[i] for i in positions]))[0]
        if len(output) != len(positions):
            raise WrongOutput(f"{len(positions)} requests gave an answer of shape {output.shape}: one row each is needed")
        if not np.isfinite(output).all():
            raise WrongOutput("answers hold NaN or infinity")
        for row, position in enumerate(positions):
            rows[position] = output[row]
    return np.stack([row for row in rows if row is not None])


def take_items(state: State, requests: Sequence[tuple[Any, ...]]) -> None:
    """From now on rounds are timed with these requests: for a build whose time depends on what it is asked."""
    pipeline, _ = _opened(state)
    state["items"] = pipelines.encode(pipeline, requests)


def lengths(state: State, requests: Sequence[tuple[Any, ...]]) -> Array:
    """(n,) tokens of each request; ones where lengths do not vary."""
    pipeline, _ = _opened(state)
    return np.array([pipelines.length(e, pipeline) for e in pipelines.encode(pipeline, requests)])


def host_s(state: State, requests: Sequence[tuple[Any, ...]], rounds: int = 3) -> float:
    """Seconds of encoding and collating, per request, one at a time as a server does it (best of rounds)."""
    pipeline, _ = _opened(state)
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for request in requests:
            pipelines.collate(pipeline, pipelines.encode(pipeline, [request]))
        best = min(best, (time.perf_counter() - started) / len(requests))
    return best


def time_round(state: State, shapes: Sequence[Shape], least_s: float) -> list[float]:
    """One round: seconds of one batch of each shape, with all streams busy (the mean over at least `least_s` seconds)."""
    pipeline, session = _opened(state)
    streams = state["streams"]
    key = tuple(shapes)
    if state.get("warm") != (key, id(session)):  # the first call of a shape may compile it
        for batch_size, length in shapes:
            session.run(pipelines.synthetic(pipeline, batch_size, length))
        state["warm"] = (key, id(session))
    return [_seconds(session, _batches(state, b, n), streams, least_s) for b, n in shapes]


def _batches(state: State, batch_size: int, length: int) -> list[Feeds]:
    """One batch of random values; or, where real items were given, batches of those that are nearest to this length."""
    pipeline, _ = _opened(state)
    if "items" not in state:
        return [pipelines.synthetic(pipeline, batch_size, length)]
    items = [item for item in state["items"] if pipelines.length(item, pipeline) <= length] or state["items"]
    near = sorted(items, key=lambda item: abs(pipelines.length(item, pipeline) - length))[: max(REAL_ITEMS, batch_size)]
    draw = np.random.default_rng(0)
    drawn = [draw.choice(len(near), batch_size) for _ in range(REAL_BATCHES)]
    pad_to = length if pipelines.varies(pipeline) else None
    return [pipelines.collate(pipeline, [near[i] for i in some], pad_to=pad_to) for some in drawn]


def _seconds(session: Session, batches: Sequence[Feeds], streams: int, least_s: float) -> float:
    """Of one batch, the mean over whole passes of `batches`."""
    started = time.perf_counter()
    for feeds in batches:
        session.run(feeds)
    once = time.perf_counter() - started
    passes = max(1, round(least_s / max(once, 1e-6)))
    repeats = passes * len(batches)

    def stream() -> None:
        for _ in range(passes):
            for feeds in batches:
                session.run(feeds)

    if streams == 1:
        started = time.perf_counter()
        stream()
        return (time.perf_counter() - started) / repeats
    with ThreadPoolExecutor(streams) as pool:
        started = time.perf_counter()
        for future in [pool.submit(stream) for _ in range(streams)]:
            future.result()
        return (time.perf_counter() - started) / repeats


def _opened(state: State) -> tuple[Pipeline, Session]:
    assert "session" in state, "open_build comes first"
    return state["pipeline"], state["session"]
