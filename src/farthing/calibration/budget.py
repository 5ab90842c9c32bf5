"""One floor over cache, cascade and compression: how its budget is divided, and the proof of the whole."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from farthing.caching.guards import refuses
from farthing.caching.semantic import Threshold
from farthing.calibration.replay import Guard, Stream, filled, hits, take
from farthing.certification import certify
from farthing.errors import JobError
from farthing.metrics import metric_of
from farthing.metrics.base import classes
from farthing.results import Certificate, Evidence
from farthing.types import Array, Floor


def divide(floor: Floor, shares: Mapping[str, float]) -> dict[str, float]:
    """Of each part (cache, cascade, compression), the share of requests that it may answer otherwise than what it stands for.

    The drop of the whole is at most the sum of the parts' drops, and one answer that differs costs at most the range of the
    metric's scores: part k may change share_k * max_drop / (high - low). This plans; `certify_cached` proves. Raises JobError
    for shares that do not fit into 1, a floor without max_drop, and a metric in which one answer can cost anything.
    """
    if not shares or min(shares.values()) < 0.0 or sum(shares.values()) > 1.0 + 1e-9:
        raise JobError(f"shares of one floor are 0 or more and sum to at most 1, not {dict(shares)}")
    metric = metric_of(floor.metric)
    low, high = metric.bounds
    if metric.kind != "mean" or not np.isfinite(high - low):
        raise JobError(
            f"{floor.metric} is no mean of bounded scores, so no count of answers bounds its drop: use another floor"
        )
    if floor.max_drop is None:
        raise JobError(f"the floor on {floor.metric} has no max_drop to divide: set it")
    return {part: share * floor.max_drop / (high - low) for part, share in shares.items()}


def differs_by(metric: str, tolerance: float = 0.0) -> Callable[[Any, Any], bool]:
    """Whether two answers to one item differ in the sense of this metric: another class, or an agreement with each other that
    is more than `tolerance` below the best. Raises JobError for a metric that says nothing about two answers."""
    judge = metric_of(metric)
    if judge.needs_labels and judge.binary:
        return lambda one, other: bool((classes(np.asarray(one)[None]) != classes(np.asarray(other)[None]))[0])
    if judge.needs_labels or judge.kind != "mean":
        raise JobError(f"{metric} does not compare two answers to one item: use argmax_agreement, cosine or another agreement")
    best = judge.bounds[1] - tolerance

    def differs(one: Any, other: Any) -> bool:
        return bool(judge.scores(np.asarray(one)[None], np.asarray(other)[None])[0] < best - 1e-9)

    return differs


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """Cache and model together, on items that neither has seen."""

    certificates: tuple[Certificate, ...]
    num_items: int
    num_hits: int

    @property
    def certified(self) -> bool:
        return all(c.verdict == "PASS" for c in self.certificates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """The verify split: its texts with the answers of the model behind the cache (its cascade and compression included),
    and what certificates need: the original's answers, labels, slices."""

    requests: Stream
    original: Array
    labels: Array | None = None
    slices: Mapping[str, Array] | None = None


def certify_cached(
    verify: Verify, past: Stream, threshold: Threshold, floor: Floor, *, guard: Guard = refuses, alpha: float | None = None
) -> Whole:
    """One certificate for all that lies between the original and what is answered: cache, cascade and compression at once.

    The cache is filled with `past` (other texts), then stands still, so that the items stay independent, as `certify` asks.
    No budget is divided here and no alpha: it is one test of the floor. `alpha`: default 1 - floor.confidence.
    """
    held = take(past, filled(past, threshold.cosine, threshold.max_entries, guard))
    found = hits(verify.requests, held, threshold.cosine, guard)
    own = np.stack([np.asarray(answer) for answer in verify.requests.answers])
    given = own.copy()
    for i in np.flatnonzero(found >= 0):
        given[i] = held.answers[found[i]]
    evidence = Evidence(original=verify.original, candidate=given, labels=verify.labels, slices=verify.slices or {})
    certificates = certify(evidence, floor, alpha=1 - floor.confidence if alpha is None else alpha)
    return Whole(certificates=certificates, num_items=len(own), num_hits=int((found >= 0).sum()))
