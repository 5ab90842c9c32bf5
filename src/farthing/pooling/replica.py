"""The process of one replica: it opens the model, warms it, and answers batches until its socket closes.

`python -m farthing.pooling.replica FD`: the first frame that comes are the settings, the first that goes the cold start.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from farthing import pipeline as pipelines
from farthing import plugins
from farthing.errors import FarthingError
from farthing.pooling import frames
from farthing.runtimes.base import Runtime, Session
from farthing.types import Array, Deployment, Pipeline

WARM_LENGTH = 32


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    directory, deployment, cores = frames.read_now(channel)
    if cores:
        os.sched_setaffinity(0, cores)
    started = time.perf_counter()
    try:
        pipeline, session = _opened(directory, deployment)
    except (FarthingError, RuntimeError, ValueError, ImportError, OSError) as error:
        channel.sendall(frames.pack(("failed", f"{type(error).__name__}: {error}")))
        return
    channel.sendall(frames.pack(("ready", time.perf_counter() - started)))
    lock = threading.Lock()

    def answer(number: int, batch: Sequence[tuple[Array, ...]]) -> None:
        reply = _answered(pipeline, session, batch)
        with lock:
            channel.sendall(frames.pack((number, *reply)))

    with ThreadPoolExecutor(deployment.streams) as streams:
        while True:
            try:
                number, batch = frames.read_now(channel)
            except EOFError:
                os._exit(0)  # the supervisor is gone, and so is whoever asked
            streams.submit(answer, number, batch)


def _opened(directory: Path, deployment: Deployment) -> tuple[Pipeline, Session]:
    """The model, after it has answered one item and one full batch."""
    pipeline = pipelines.read(directory)
    runtime = plugins.make(Runtime, deployment.build.runtime)  # type: ignore[type-abstract]
    session = runtime.open(
        pipeline, threads=deployment.threads, streams=deployment.streams, device_kind=deployment.build.device_kind
    )
    for batch_size in {1, deployment.batch_size}:
        session.run(pipelines.synthetic(pipeline, batch_size, min(WARM_LENGTH, pipeline.max_length or WARM_LENGTH)))
    return pipeline, session


def _answered(pipeline: Pipeline, session: Session, batch: Sequence[tuple[Array, ...]]) -> tuple[str, Any, float]:
    """("answers", one list of output rows for each item, seconds), or ("failed", why, seconds)."""
    started = time.perf_counter()
    try:
        outputs = session.run(pipelines.collate(pipeline, batch))
    except Exception as error:  # noqa: BLE001 - whatever a model raises is one batch's failure, told to who asked
        return "failed", f"{type(error).__name__}: {error}", time.perf_counter() - started
    if any(len(output) != len(batch) for output in outputs):
        shapes = ", ".join(str(np.shape(output)) for output in outputs)
        return "failed", f"{len(batch)} items gave answers of shape {shapes}", time.perf_counter() - started
    return "answers", [[output[i] for output in outputs] for i in range(len(batch))], time.perf_counter() - started


if __name__ == "__main__":
    main()
