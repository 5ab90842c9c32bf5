"""What a floor asks of two sets of answers, one question per limit and slice, each about one number: the drop."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from farthing.errors import DataError, JobError
from farthing.metrics import metric_of
from farthing.metrics.base import Metric
from farthing.results import Evidence
from farthing.types import Array, Floor


@dataclass(frozen=True, kw_only=True)  # no slots: the cached properties live in __dict__
class Question:
    """Is the drop below `limit`? drop = value(original) - value(candidate), or minimum - value(candidate)."""

    name: str  # the metric as the floor names it
    metric: Metric
    original: Array  # (n, ...) answers
    candidate: Array  # (n, ...) answers
    target: Array  # (n, ...) labels, or the original's answers
    limit: float
    minimum: float | None = None
    slice: str | None = None

    def __len__(self) -> int:
        return len(self.target)

    @property
    def reference(self) -> float | None:
        """What the candidate is held against, where that is a constant rather than the original's own sampled quality."""
        return self.minimum if self.metric.needs_labels or self.minimum is not None else self.metric.bounds[1]

    @cached_property
    def losses(self) -> Array:
        """(n,) loss of each item, whose mean is the drop; metrics of kind "mean" only."""
        scores = self.metric.scores(self.candidate, self.target)
        reference = self.reference
        return np.asarray((self.metric.scores(self.original, self.target) if reference is None else reference) - scores)

    @property
    def loss_bounds(self) -> tuple[float, float]:
        low, high = self.metric.bounds
        reference = self.reference
        return (low - high, high - low) if reference is None else (reference - high, reference - low)

    @cached_property
    def original_value(self) -> float:
        """The metric of the original; of agreement with itself, the most there is, by the law of metrics."""
        agrees = not self.metric.needs_labels
        return self.metric.bounds[1] if agrees else self.metric.value(self.original, self.target)

    @cached_property
    def drop(self) -> float:
        if self.metric.kind == "mean":
            return float(self.losses.mean())
        reference = self.original_value if self.reference is None else self.reference
        return reference - self.metric.value(self.candidate, self.target)

    @property
    def candidate_value(self) -> float:
        return (self.original_value if self.reference is None else self.reference) - self.drop

    @cached_property
    def influence(self) -> Array | None:
        """(n,) influence of each item on the drop; None where the metric has no closed form of it."""
        if self.metric.kind == "mean":
            return np.asarray(self.losses - self.drop)
        if type(self.metric).influence is Metric.influence:
            return None
        of_candidate = self.metric.influence(self.candidate, self.target)
        if self.reference is not None:
            return -of_candidate
        return np.asarray(self.metric.influence(self.original, self.target) - of_candidate)

    def resampled(self, weights: Array) -> Array:
        """(b,) drop of b samples in which items occur so often (b, n); nan where the metric is undefined."""
        if self.metric.kind == "mean":
            return np.asarray(weights @ self.losses / weights.sum(axis=1))
        of_candidate = self.metric.weighted(self.candidate, self.target, weights)
        reference = self.reference
        of_reference = self.metric.weighted(self.original, self.target, weights) if reference is None else reference
        return np.asarray(of_reference - of_candidate)

    def failure_cost(self, seed: int) -> float:
        """What it costs if the candidate fails altogether: every item answered with another item's answer."""
        order = np.random.default_rng(seed).permutation(len(self))
        strangers = np.empty_like(self.candidate)
        strangers[order] = self.candidate[np.roll(order, 1)]
        return max(0.0, self.candidate_value - self.metric.value(strangers, self.target))

    def take(self, mask: Array, value: str) -> "Question":
        return replace(
            self, original=self.original[mask], candidate=self.candidate[mask], target=self.target[mask], slice=value
        )


def questions(evidence: Evidence, floor: Floor) -> tuple[Question, ...]:
    """About all items: one for `max_drop`, one for `minimum`, whichever the floor sets.

    Raises DataError for answers or labels that are missing, not finite or not in pairs; JobError for an unknown metric.
    """
    if floor.max_drop is None and floor.minimum is None:
        raise JobError(f"the floor on {floor.metric} sets neither max_drop nor minimum: set one of them")
    whole = _whole(evidence, floor)
    drop = () if floor.max_drop is None else (replace(whole, limit=floor.max_drop),)
    minimum = () if floor.minimum is None else (replace(whole, minimum=floor.minimum),)
    return drop + minimum


def slice_questions(evidence: Evidence, floor: Floor) -> tuple[Question, ...]:
    """The same of each value of the slice column, in its sorted order; with `slice_max_drop` where that is set."""
    if floor.slices is None:
        return ()
    if floor.slices not in evidence.slices:
        known = ", ".join(sorted(evidence.slices)) or "none"
        raise DataError(f"the floor on {floor.metric} asks for slices by {floor.slices!r}; the data has these columns: {known}")
    return tuple(_slices(questions(evidence, floor), np.asarray(evidence.slices[floor.slices]), floor.slice_max_drop))


def _slices(whole: tuple[Question, ...], column: Array, slice_max_drop: float | None) -> Iterator[Question]:
    for value in np.unique(column):
        for question in whole:
            part = question.take(column == value, str(value))
            if slice_max_drop is not None and part.minimum is None:
                part = replace(part, limit=slice_max_drop)
            yield part


def _whole(evidence: Evidence, floor: Floor) -> Question:
    metric = metric_of(floor.metric)
    if metric.needs_labels and evidence.labels is None:
        raise DataError(
            f"the floor on {floor.metric} needs labels, and the data has none: name a label column or ask for agreement"
        )
    target = evidence.labels if metric.needs_labels else evidence.original
    assert target is not None
    arrays = {"original": evidence.original, "candidate": evidence.candidate, "target": target}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or not len(target):
        raise DataError(f"a floor compares pair by pair, but there are {lengths} items")
    for name, what in (("original", "answers of the original"), ("target", "labels")):
        num_bad = not_finite(arrays[name])
        if num_bad:
            raise DataError(f"{num_bad} of {len(target)} {what} are NaN or infinite: remove these items or mend the model")
    return Question(
        name=floor.metric,
        metric=metric,
        original=evidence.original,
        candidate=evidence.candidate,
        target=target,
        limit=0.0,
    )


def not_finite(array: Array) -> int:
    """How many items hold a NaN or an infinity."""
    if array.dtype.kind not in "fc":
        return 0
    return int((~np.isfinite(array)).reshape(len(array), -1).any(axis=1).sum())
