"""The driven load: open loop from this process, the batcher and the model in the worker's; latency from the intended send."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from farthing import pipeline as pipelines
from farthing.batching import BatchPolicy, BatchQueue
from farthing.measurement.session import State
from farthing.measurement.workers import Worker
from farthing.traffic import check_offered
from farthing.types import Array

Requests = Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRun:
    latencies_s: Array  # (n,) from the intended send time to the answer
    send_lag_s: Array  # (n,) how much later than intended the request was really sent
    intended_s: float  # from the first intended send to the last
    elapsed_s: float
    busy_s: float  # sum over batches of the time a stream was at work

    def check(self, ceiling_s: float = 0.0) -> "LoadRun":
        """Raises LoadVoid if the generator may have shaped these latencies, or what they say about a ceiling."""
        check_offered(
            intended_s=self.intended_s,
            sent_s=self.intended_s + float(self.send_lag_s[-1] - self.send_lag_s[0]),
            lag_p99_s=float(np.quantile(self.send_lag_s, 0.99)),
            latency_p99_s=float(np.quantile(self.latencies_s, 0.99)),
            ceiling_s=ceiling_s,
        )
        return self


def drive(worker: Worker, requests: Requests, send_at_s: Array, policy: BatchPolicy, *, timeout_s: float) -> LoadRun:
    """Send `requests[i]` at `send_at_s[i]` whether or not earlier ones were answered; `check` the run before you believe it."""
    with tempfile.TemporaryDirectory(prefix="farthing-") as folder:
        address = str(Path(folder) / "load.sock")
        worker.begin(serve, address, policy, len(requests))
        pipe = _connect(address, worker)
        started = time.perf_counter() + 0.05
        lag_s = np.empty(len(requests))
        for i, (request, at_s) in enumerate(zip(requests, send_at_s, strict=True)):
            pause_s = started + at_s - time.perf_counter()
            if pause_s > 0:
                time.sleep(pause_s)
            lag_s[i] = time.perf_counter() - started - at_s
            pipe.send((i, request))
        pipe.close()
        finished_at, busy_s = worker.finish(timeout_s)
    latencies_s = np.asarray(finished_at) - started - send_at_s
    return LoadRun(
        latencies_s=latencies_s,
        send_lag_s=lag_s,
        intended_s=float(send_at_s[-1] - send_at_s[0]),
        elapsed_s=float(np.max(finished_at) - started),
        busy_s=busy_s,
    )


def serve(state: State, address: str, policy: BatchPolicy, num_requests: int) -> tuple[Array, float]:
    """Worker side: answer everything that comes; (n,) `perf_counter` at which each answer was ready, and the busy seconds."""
    queue: BatchQueue[tuple[int, tuple[Array, ...]]] = BatchQueue(policy)
    finished_at, busy_s = np.zeros(num_requests), [0.0] * state["streams"]
    failures: list[BaseException] = []

    def stream(position: int) -> None:
        try:
            while batch := queue.take():
                started = time.perf_counter()
                state["session"].run(pipelines.collate(state["pipeline"], [encoded for _, encoded in batch]))
                done = time.perf_counter()
                busy_s[position] += done - started
                for i, _ in batch:
                    finished_at[i] = done
        except Exception as error:  # noqa: BLE001 - raised again below, in the thread that answers the call
            failures.append(error)

    threads = [Thread(target=stream, args=(i,)) for i in range(state["streams"])]
    with Listener(address, "AF_UNIX") as listener, listener.accept() as pipe:
        for thread in threads:
            thread.start()
        host_s = _receive(pipe, queue, state)
    queue.close()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return finished_at, sum(busy_s) + host_s


def run_offline(state: State, requests: Requests, batch_size: int, bucketing: bool) -> float:
    """Worker side: seconds to answer all requests, tokenizing included; with bucketing, sorted by length first."""
    from concurrent.futures import ThreadPoolExecutor

    started = time.perf_counter()
    pipeline, session = state["pipeline"], state["session"]
    encoded = pipelines.encode(pipeline, requests)
    if bucketing:
        encoded.sort(key=lambda e: -pipelines.length(e, pipeline))
    batches = [encoded[i : i + batch_size] for i in range(0, len(encoded), batch_size)]
    with ThreadPoolExecutor(state["streams"]) as pool:
        for _ in pool.map(lambda batch: session.run(pipelines.collate(pipeline, batch)), batches):
            pass
    return time.perf_counter() - started


def run_single_stream(state: State, requests: Requests) -> Array:
    """Worker side: (n,) seconds of each request, the next sent when the last is answered."""
    pipeline, session = state["pipeline"], state["session"]
    latencies_s = np.empty(len(requests))
    for i, request in enumerate(requests):
        started = time.perf_counter()
        session.run(pipelines.collate(pipeline, pipelines.encode(pipeline, [request])))
        latencies_s[i] = time.perf_counter() - started
    return latencies_s


def _receive(pipe: Connection, queue: BatchQueue[tuple[int, tuple[Array, ...]]], state: State) -> float:
    """Encode and queue what comes until the sender closes; seconds spent on encoding."""
    host_s = 0.0
    while True:
        try:
            i, request = pipe.recv()
        except EOFError:
            return host_s
        started = time.perf_counter()
        (encoded,) = pipelines.encode(state["pipeline"], [request])
        host_s += time.perf_counter() - started
        queue.put((i, encoded), pipelines.length(encoded, state["pipeline"]))


def _connect(address: str, worker: Worker) -> Connection:
    deadline = time.monotonic() + 10
    while True:
        try:
            return Client(address, "AF_UNIX")
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > deadline:
                worker.finish(0.001)
                raise
            time.sleep(0.005)
