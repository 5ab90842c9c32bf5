"""Service times: batches of chosen shapes timed in alternating rounds with the baseline, and the model fitted to them."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from farthing.measurement import session
from farthing.measurement.session import Shape
from farthing.measurement.workers import Worker
from farthing.results import ServiceModel, ServiceTimes
from farthing.types import Array

ROUNDS = 5
LEAST_S = 0.06  # of one shape in one round


def measure(
    candidate: Worker, baseline: Worker, *, shapes: Sequence[Shape], reference: Shape, threads: int, streams: int
) -> ServiceTimes:
    """Time `shapes` on the candidate; beside each round, the baseline times its `reference` shape. One runs, the other rests.

    The machine drifts: only ratios to the baseline taken in the same round may be compared, so both raw series are kept.
    """
    rows: list[list[float]] = []
    references: list[float] = []
    for _ in range(ROUNDS):
        references.append(baseline.call(session.time_round, [reference], LEAST_S)[0])
        rows.append(candidate.call(session.time_round, list(shapes), LEAST_S))
    return ServiceTimes(
        threads=threads,
        streams=streams,
        batch_sizes=tuple(b for b, _ in shapes),
        lengths=tuple(n for _, n in shapes),
        seconds=tuple(tuple(row[i] for row in rows) for i in range(len(shapes))),
        baseline_seconds=tuple((s,) for s in references),
    )


def normalized(times: ServiceTimes, reference_s: float) -> Array:
    """(shapes, rounds) seconds as they would be in a machine whose baseline takes `reference_s` for its reference batch."""
    return np.array(times.seconds) * (reference_s / np.array(times.baseline_seconds)[:, 0])


def fit_service(times: ServiceTimes, reference_s: float) -> ServiceModel:
    """T(b, n) = c0 + c1 b + c2 b n + c3 b n^2, all c >= 0: fixed overhead, per item, per token, and attention's square.

    Non-negative least squares on the medians over rounds, each divided by its own time, so that errors are relative.
    """
    seconds = np.median(normalized(times, reference_s), axis=1)
    design = _design(np.array(times.batch_sizes, float), np.array(times.lengths, float))
    if len(set(times.lengths)) == 1:
        design = design[:, :2]
    coefficients, _ = nnls(design / seconds[:, None], np.ones_like(seconds))
    padded = np.zeros(4)
    padded[: len(coefficients)] = coefficients
    fitted = design @ coefficients
    return ServiceModel(
        coefficients=(float(padded[0]), float(padded[1]), float(padded[2]), float(padded[3])),
        relative_error=float(np.abs(fitted / seconds - 1).max()),
        host_s=times.host_s,
        threads=times.threads,
        streams=times.streams,
    )


def _design(batch: Array, length: Array) -> Array:
    return np.stack([np.ones_like(batch), batch, batch * length, batch * length**2], axis=1)
