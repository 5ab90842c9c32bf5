"""The process of one replica: it opens the model, warms it, and answers batches until its socket closes.

`python -m farthing.pooling.replica FD`: the first frame that comes are the settings, the first that goes the cold start.
"""

import os
import select
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from farthing import pipeline as pipelines
from farthing import plugins
from farthing.errors import FarthingError
from farthing.pooling import frames
from farthing.pooling.supervised import Reply
from farthing.runtimes.base import Runtime, Session, warm
from farthing.types import Array, Deployment, Feeds, Pipeline


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    reader = frames.Reader(channel)
    directory, deployment, cores = reader.next()
    if cores:
        os.sched_setaffinity(0, cores)
    started = time.perf_counter()
    try:
        pipeline, session = opened(directory, deployment)
    except (FarthingError, RuntimeError, ValueError, ImportError, OSError) as error:
        channel.sendall(frames.pack(("failed", f"{type(error).__name__}: {error}")))
        return
    channel.sendall(frames.pack(("ready", time.perf_counter() - started)))
    threading.Thread(target=_end_with_supervisor, args=(channel,), daemon=True).start()
    lock = threading.Lock()

    def answer(number: int, num_items: int, inputs: frames.Stacked) -> None:
        reply = answered(pipeline, session, inputs, num_items)
        with lock:
            channel.sendall(frames.pack((number, *reply)))

    with ThreadPoolExecutor(deployment.streams) as streams:
        while True:
            try:
                asked = reader.next()
            except EOFError:
                os._exit(0)
            if deployment.streams == 1:  # another thread would cost more than a cheap model does
                answer(*asked)
            else:
                streams.submit(answer, *asked)


def _end_with_supervisor(channel: socket.socket) -> None:
    """Whatever the model is at: when the supervisor is gone, so is whoever asked."""
    gone = select.poll()
    gone.register(channel, getattr(select, "POLLRDHUP", select.POLLHUP))
    gone.poll()
    os._exit(0)


def opened(directory: Path, deployment: Deployment) -> tuple[Pipeline, Session]:
    """The model, warm."""
    pipeline = pipelines.read(directory)
    runtime = plugins.make(Runtime, deployment.build.runtime)  # type: ignore[type-abstract]
    session = runtime.open(
        pipeline, threads=deployment.threads, streams=deployment.streams, device_kind=deployment.build.device_kind
    )
    warm(session, pipeline, runtime, deployment.batch_size)
    return pipeline, session


def answered(pipeline: Pipeline, session: Session, inputs: frames.Stacked, num_items: int) -> Reply:
    started = time.perf_counter()
    try:
        outputs = session.run(_feeds(pipeline, inputs, num_items))
    except Exception as error:  # noqa: BLE001 - whatever a model raises is one batch's failure, told to who asked
        return "failed", f"{type(error).__name__}: {error}", [], time.perf_counter() - started
    if any(len(output) != num_items for output in outputs):
        shapes = ", ".join(str(np.shape(output)) for output in outputs)
        return "failed", f"{num_items} items gave answers of shape {shapes}", [], time.perf_counter() - started
    outputs = [np.asarray(output) for output in outputs]
    return "answers", outputs, _not_finite(outputs), time.perf_counter() - started


def _feeds(pipeline: Pipeline, inputs: frames.Stacked, num_items: int) -> Feeds:
    """What `collate` makes of the items; where all have one shape there is nothing to pad."""
    if all(len(shapes) == 1 for shapes, _ in inputs):
        named = zip(pipeline.inputs, inputs, strict=True)
        return {spec.name: flat.reshape(num_items, *shapes[0]) for spec, (shapes, flat) in named}
    return pipelines.collate(pipeline, frames.unstacked(inputs, num_items))


def _not_finite(outputs: list[Array]) -> list[int]:
    """Items whose answer holds NaN or infinity."""
    floats = [output for output in outputs if output.dtype.kind == "f"]
    if all(np.isfinite(output).all() for output in floats):
        return []
    return [i for i in range(len(outputs[0])) if not all(np.isfinite(output[i]).all() for output in floats)]


if __name__ == "__main__":
    main()
