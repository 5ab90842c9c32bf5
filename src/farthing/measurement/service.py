"""Service times: batches of chosen shapes timed in alternating rounds with the baseline, and the model fitted to them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from farthing.measurement import session
from farthing.measurement.session import Shape
from farthing.measurement.workers import Worker
from farthing.results import ServiceModel, ServiceTimes
from farthing.types import Array

ROUNDS = 5
MOST_ROUNDS = 40  # counting those that were disturbed
DISTURBED = 1.5
DROWNED = 5.0
LEAST_S = 0.06  # of one shape in one round
FINAL_ROUNDS, FINAL_LEAST_S = 20, 0.12  # of what passed everything: few, so that they may take longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """The baseline, opened and parked: in every round it times one batch of `shape`, which should take `expected_s`."""

    worker: Worker
    shape: Shape
    expected_s: float


def measure(
    candidate: Worker,
    yardstick: Yardstick,
    *,
    shapes: Sequence[Shape],
    layout: tuple[int, int],
    joules: Callable[[], float] | None = None,
) -> ServiceTimes:
    """Time `shapes` on the candidate; beside each round, the yardstick times its own. One runs, the other rests.

    The machine drifts: only ratios to the baseline taken in the same round may be compared, so both raw series are kept. A
    neighbour's burst may hit one of the two alone: a round whose yardstick is DISTURBED times off what it should take is
    timed again. If that goes on, the machine has changed for good, and the last rounds stand as they are.

    `joules` reads a sensor that counts upwards: what it counts in the candidate's rounds gives their mean watts.
    """
    rows: list[list[float]] = []
    references: list[float] = []
    energy_j = elapsed_s = 0.0
    for attempt in range(MOST_ROUNDS):
        reference_s = yardstick.worker.call(session.time_round, [yardstick.shape], LEAST_S)[0]
        hopeless = attempt >= MOST_ROUNDS - (ROUNDS - len(rows))
        if hopeless or 1 / DISTURBED < reference_s / yardstick.expected_s < DISTURBED:
            references.append(reference_s)
            started, before_j = time.perf_counter(), joules() if joules else 0.0
            rows.append(candidate.call(session.time_round, list(shapes), LEAST_S))
            energy_j += joules() - before_j if joules else 0.0
            elapsed_s += time.perf_counter() - started
        if len(rows) == ROUNDS:
            break
    threads, streams = layout
    return ServiceTimes(
        threads=threads,
        streams=streams,
        batch_sizes=tuple(b for b, _ in shapes),
        lengths=tuple(n for _, n in shapes),
        seconds=tuple(tuple(row[i] for row in rows) for i in range(len(shapes))),
        baseline_seconds=tuple((s,) for s in references),
        watts=energy_j / elapsed_s if joules else None,
    )


def side_by_side(candidates: Sequence[tuple[Worker, Shape]], yardstick: Yardstick) -> Array:
    """(candidates, FINAL_ROUNDS) seconds of one batch of each, in turns, as in a machine whose yardstick takes `expected_s`.

    The yardstick is read before and after each round, FINAL_LEAST_S long, and their mean divides it; a round in which either is
    DISTURBED times off is taken again.
    """
    rows: list[list[float]] = []
    for attempt in range(MOST_ROUNDS):
        before_s = yardstick.worker.call(session.time_round, [yardstick.shape], FINAL_LEAST_S)[0]
        seconds = [worker.call(session.time_round, [shape], FINAL_LEAST_S)[0] for worker, shape in candidates]
        after_s = yardstick.worker.call(session.time_round, [yardstick.shape], FINAL_LEAST_S)[0]
        quiet = all(1 / DISTURBED < s / yardstick.expected_s < DISTURBED for s in (before_s, after_s))
        if quiet or attempt >= MOST_ROUNDS - (FINAL_ROUNDS - len(rows)):
            rows.append([s * 2 * yardstick.expected_s / (before_s + after_s) for s in seconds])
        if len(rows) == FINAL_ROUNDS:
            break
    return np.array(rows).T


def normalized(times: ServiceTimes, reference_s: float) -> Array:
    """(shapes, rounds) seconds as they would be in a machine whose baseline takes `reference_s` for its reference batch."""
    return np.array(times.seconds) * (reference_s / np.array(times.baseline_seconds)[:, 0])


def drowned(times: ServiceTimes, expected_s: float) -> str | None:
    """Why these times say nothing: the yardstick took DROWNED times what it should; None where they count.

    A machine that slows everything alike changes no ratio. A crowd on it does: two threads that wait for each other lose far
    more than one alone, and the candidate would seem as many times cheaper as the original was held up.
    """
    took_s = float(np.median(np.array(times.baseline_seconds)[:, 0]))
    if took_s < DROWNED * expected_s:
        return None
    return (
        f"the machine was too busy to time it: beside it, the original took {took_s * 1e3:.3g} ms where it takes "
        f"{expected_s * 1e3:.3g} ms. Run the job anew while nothing else runs"
    )


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
        watts=times.watts,
    )


def _design(batch: Array, length: Array) -> Array:
    return np.stack([np.ones_like(batch), batch, batch * length, batch * length**2], axis=1)
