"""predict(): answers of an artifact to requests in JSON lines, in batches of its deployment."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from farthing import pipeline as pipelines
from farthing import plugins
from farthing.artifact.manifest import Artifact, load
from farthing.errors import DataError
from farthing.runtimes.base import Runtime, Session
from farthing.types import Array, Pipeline, TensorSpec

WINDOW_BATCHES = 16  # with bucketing, so many batches of requests are sorted by length at once


def predict(directory: Path, requests: Path, *, trust: bool = False) -> Iterator[Array]:
    """The model's first output for each line of `requests`, in their order.

    A line is a text ("..." or {"text": "..."}), the value of a model's one input (a number or nested lists of them), or
    {"inputs": [...]}, one value for each input. Every line is checked before the first is run, so that a bad one costs
    nothing: DataError names it. Raises ArtifactError as `load` does. The file is never held in memory as a whole.
    """
    artifact = load(directory, trust=trust)
    for _ in _requests(requests, artifact.pipeline):
        pass
    return answers(artifact, _requests(requests, artifact.pipeline))


def open_session(artifact: Artifact) -> Session:
    """The model opened in this process as its deployment says. Raises BuildError, MissingExtra."""
    deployment = artifact.manifest.deployment
    runtime = plugins.make(Runtime, deployment.build.runtime)  # type: ignore[type-abstract]
    return runtime.open(
        artifact.pipeline, threads=deployment.threads, streams=deployment.streams, device_kind=deployment.build.device_kind
    )


def answers(artifact: Artifact, requests: Iterator[tuple[Any, ...]]) -> Iterator[Array]:
    """The first output for each request, in their order, in this process. Raises BuildError, MissingExtra."""
    return _answers(open_session(artifact), artifact, requests)


def _answers(session: Session, artifact: Artifact, requests: Iterator[tuple[Any, ...]]) -> Iterator[Array]:
    pipeline, deployment = artifact.pipeline, artifact.manifest.deployment
    size = deployment.batch_size
    while window := list(islice(requests, size * (WINDOW_BATCHES if deployment.bucketing else 1))):
        encoded = pipelines.encode(pipeline, window)
        order = sorted(range(len(encoded)), key=lambda i: pipelines.length(encoded[i], pipeline))
        rows: dict[int, Array] = {}
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            answer = session.run(pipelines.collate(pipeline, [encoded[i] for i in batch]))[0]
            rows |= dict(zip(batch, answer, strict=True))
        yield from (rows[i] for i in range(len(window)))
    session.close()


def _requests(path: Path, pipeline: Pipeline) -> Iterator[tuple[Any, ...]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _request(line, pipeline, f"{path}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from error


def _request(line: str, pipeline: Pipeline, where: str) -> tuple[Any, ...]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {error}") from error
    return request(value, pipeline, where)


def request(value: Any, pipeline: Pipeline, where: str) -> tuple[Any, ...]:
    """What `pipeline.encode` takes, from one decoded JSON value. Raises DataError that begins with `where`."""
    inputs = _inputs(value)
    if pipeline.tokenizer is not None:
        if len(inputs) != 1 or not isinstance(inputs[0], str):
            raise DataError(f'{where}: expected a text, "..." or {{"text": "..."}}, not {json.dumps(value):.60}')
        try:
            inputs[0].encode()
        except UnicodeEncodeError as error:  # JSON can say half a surrogate pair, and no tokenizer takes it
            raise DataError(f"{where}: no Unicode text: {error}") from error
        return tuple(inputs)
    if len(inputs) != len(pipeline.inputs):
        names = ", ".join(spec.name for spec in pipeline.inputs)
        raise DataError(
            f'{where}: the model takes {{"inputs": [...]}} of {len(pipeline.inputs)} values ({names}), not {len(inputs)}'
        )
    return tuple(_array(value, spec, where) for value, spec in zip(inputs, pipeline.inputs, strict=True))


def _inputs(value: Any) -> list[Any]:
    if isinstance(value, dict) and value.keys() == {"inputs"} and isinstance(value["inputs"], list):
        return value["inputs"]
    if isinstance(value, dict) and value.keys() == {"text"}:
        return [value["text"]]
    return [value]


def _array(value: Any, spec: TensorSpec, where: str) -> Array:
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what becomes another number is refused below
            given = np.asarray(value)
            array = given.astype(spec.dtype, copy=False)
        if array is not given and array.dtype.kind in "iub" and (changed := given[array != given]).size:
            raise ValueError(f"{changed[0]} would become another number")
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: input {spec.name!r} takes {spec.dtype} ({_sizes(spec.shape[1:])}): {error}") from error
    sizes = zip(array.shape, spec.shape[1:], strict=False)
    if array.ndim != len(spec.shape) - 1 or any(isinstance(size, int) and size != got for got, size in sizes):
        raise DataError(
            f"{where}: input {spec.name!r} has shape {_sizes(array.shape)}, the model takes {_sizes(spec.shape[1:])}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{where}: input {spec.name!r} holds NaN or infinity")
    return array


def _sizes(shape: tuple[int | str, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"
