"""Where the original's time goes, at the job's real shapes: measured, put against the device's ceilings, judged."""

import os
import statistics
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from farthing import pipeline as pipelines
from farthing import plugins
from farthing.diagnosis.ceilings import num_cores
from farthing.diagnosis.findings import Measures, findings, padded_lengths, skipped
from farthing.diagnosis.onnx_original import OnnxOriginal
from farthing.diagnosis.roofline import Call, place
from farthing.diagnosis.sensitivity import Sensitivities
from farthing.diagnosis.torch_original import TorchOriginal
from farthing.errors import DataError, ModelError
from farthing.results import Device, Profile
from farthing.runtimes.base import Runtime, Session
from farthing.types import Array, Feeds, Pipeline

MAX_REQUESTS = 2048  # of the sample whose lengths are looked at
HOST_S = 0.5  # of encoding and collating
ROUNDS_S = 3.0  # of timed batches ...
LEAST_ROUNDS = 3  # ... but at least so many rounds


class Original(Protocol):
    """The original, opened in this process."""

    def run(self, feeds: Feeds, threads: int) -> None:
        """One batch, finished when this returns."""

    def trace(self, feeds: Feeds, threads: int) -> None:
        """The same, with each operator timed."""

    def timeline(self) -> tuple[Call, ...]:
        """The operators of the fastest traced batch; empty where the form hides them."""

    def sensitivities(self, calibration: Sequence[Feeds], threads: int) -> Sensitivities:
        """Of its layers to int8; empty where it has none that can be changed alone."""


def diagnose(
    original: Pipeline,
    requests: Sequence[tuple[Any, ...]],
    device: Device,
    *,
    calibration: Sequence[Feeds] = (),
    batch_size: int = 1,
    threads: int | None = None,
) -> Profile:
    """Profile of `original` serving `requests` in their order, in batches of `batch_size`, on `threads` threads.

    `threads` None is what the libraries take by themselves: OMP_NUM_THREADS, or every core. Operators are timed on a real
    batch: the one whose padded length is nearest to the mean padded length. Times are those of the fastest round: what else
    runs on the machine can only add to them. Call it in a process of its own.
    Raises DataError without requests, ModelError if no installed member reads the original's form, MissingExtra.
    """
    if not requests:
        raise DataError("diagnosing needs at least one request: the search split is empty")
    threads = threads or _default_threads()
    encoded = pipelines.encode(original, requests[:MAX_REQUESTS])
    batch_size = min(batch_size, len(encoded))
    lengths = np.array([pipelines.length(e, original) for e in encoded])
    feeds = _typical_batch(original, encoded, lengths, batch_size)
    model = _open(original, device.kind)
    batch_s_by_threads = _batch_seconds(model, feeds, threads, device)
    fastest = min(batch_s_by_threads, key=batch_s_by_threads.__getitem__)
    layers = model.sensitivities(calibration, fastest) if calibration and _is_float(original) else Sensitivities()
    measures = Measures(
        ops=place(model.timeline(), batch_s_by_threads[threads], device, threads),
        device=device,
        batch_size=batch_size,
        threads=threads,
        batch_s=batch_s_by_threads[threads],
        host_s=_host_seconds(original, requests[:MAX_REQUESTS], batch_size),
        lengths=lengths,
        batch_s_by_threads=batch_s_by_threads,
        layers=layers,
        float_weights=_is_float(original),
    )
    return Profile(
        ops=measures.ops,
        findings=findings(measures),
        device=device,
        host_s=measures.host_s,
        model_s=measures.batch_s / batch_size,
        lengths=lengths,
        sensitivities=layers.errors,
        skipped=skipped(measures),
    )


def _default_threads() -> int:
    """OMP_NUM_THREADS may list a number for each level of nesting."""
    return int(os.environ.get("OMP_NUM_THREADS", "").partition(",")[0] or num_cores())


def _typical_batch(original: Pipeline, encoded: list[tuple[Array, ...]], lengths: Array, batch_size: int) -> Feeds:
    """The full batch, in order of arrival, whose padded length is nearest to their mean."""
    padded = padded_lengths(lengths[: len(lengths) // batch_size * batch_size], batch_size)
    start = int(np.abs(padded - padded.mean()).argmin()) * batch_size
    return pipelines.collate(original, encoded[start : start + batch_size])


def _open(original: Pipeline, device_kind: str) -> Original:
    if original.form == "torch":
        return TorchOriginal(original, device_kind)
    if original.form == "onnx":
        return OnnxOriginal(original, device_kind)
    return _SessionOriginal(original, device_kind)


class _SessionOriginal:
    """An original of any other form, run by the first runtime that accepts it; its operators stay hidden."""

    def __init__(self, pipeline: Pipeline, device_kind: str) -> None:
        members = [plugins.load(Runtime, name) for name in plugins.names(Runtime)]  # type: ignore[type-abstract]
        self.member = next((member for member in members if pipeline.form in member.accepts), None)
        if self.member is None:
            forms = sorted({form for member in members for form in member.accepts})
            raise ModelError(f"no runtime accepts the original's form {pipeline.form!r}; they accept: {', '.join(forms)}")
        self.pipeline, self.device_kind = pipeline, device_kind
        self.sessions: dict[int, Session] = {}

    def run(self, feeds: Feeds, threads: int) -> None:
        if threads not in self.sessions:
            assert self.member is not None
            self.sessions[threads] = self.member().open(self.pipeline, threads=threads, streams=1, device_kind=self.device_kind)
        self.sessions[threads].run(feeds)

    def trace(self, feeds: Feeds, threads: int) -> None:
        pass

    def timeline(self) -> tuple[Call, ...]:
        return ()

    def sensitivities(self, calibration: Sequence[Feeds], threads: int) -> Sensitivities:
        return Sensitivities()


def _is_float(original: Pipeline) -> bool:
    return "float_weights" in original.traits


def _batch_seconds(model: Original, feeds: Feeds, threads: int, device: Device) -> dict[int, float]:
    """Seconds of the fastest batch for one, half and all of the cores and for `threads`; also traces the model.

    All take turns, so that a slow spell of the machine hits all alike; a GPU's host threads are not varied.
    """
    counts = sorted({1, max(1, num_cores() // 2), num_cores(), threads}) if device.kind == "cpu" else [threads]
    seconds = dict.fromkeys(counts, float("inf"))
    rounds, started = 0, time.perf_counter()
    while rounds < LEAST_ROUNDS or time.perf_counter() - started < ROUNDS_S:
        for count in counts:
            seconds[count] = min(seconds[count], *(_seconds(model, feeds, count) for _ in range(2)))
        model.trace(feeds, threads)
        rounds += 1
    return seconds


def _seconds(model: Original, feeds: Feeds, threads: int) -> float:
    before = time.perf_counter()
    model.run(feeds, threads)
    return time.perf_counter() - before


def _host_seconds(original: Pipeline, requests: Sequence[tuple[Any, ...]], batch_size: int) -> float:
    """Encoding and collating, per request: the median batch, since batches differ in length."""
    per_request: list[float] = []
    started = time.perf_counter()
    for start in range(0, len(requests) - batch_size + 1, batch_size):
        before = time.perf_counter()
        batch = requests[start : start + batch_size]
        pipelines.collate(original, pipelines.encode(original, batch))
        per_request.append((time.perf_counter() - before) / batch_size)
        if before - started > HOST_S:
            break
    return statistics.median(per_request)
