"""The contract of a metric: how good answers are."""

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from farthing.errors import DataError
from farthing.types import Array


class Metric(ABC):
    """A frozen dataclass; its fields are its knobs (`k` of nDCG@k, ...): the first is what stands behind the @ of a floor.

    `predictions` are a model's first output for each item (n, ...); for a pair job, the cosine of the two answers (n,).
    `target` is the labels (n,), or the original's predictions where `needs_labels` is False (agreement).
    A mean overrides `scores`; a statistic overrides `value`, and `weighted` and `influence` where they have a closed form.

    Laws (checked over every member by `farthing.testing.metrics`):
    - larger is better: metrics of error report their negative (`rmse` is -RMSE).
    - `value` ignores the order of items.
    - kind "mean": `value == scores.mean()`, and `bounds` hold every score. For the racing bounds, both must be exact.
    - an agreement metric scores the original against itself with its upper bound, exactly.
    - `weighted` with weights of one is `value`; with whole weights, `value` of the items so often repeated.
    - `influence` is the derivative of `weighted` by an item's weight.
    """

    kind: ClassVar[Literal["mean", "statistic"]]
    needs_labels: ClassVar[bool]
    bounds: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    binary: ClassVar[bool] = False  # every score is 0 or 1: exact or score-based intervals for proportions apply
    resamples: ClassVar[bool] = True  # False: copies of an item change the metric, so it cannot be bootstrapped

    def scores(self, predictions: Array, target: Array) -> Array:
        """(n,) score of each item, kind "mean" only; a "statistic" raises TypeError."""
        raise TypeError(f"{type(self).__name__} is not a mean of scores")

    def value(self, predictions: Array, target: Array) -> float:
        """The metric over all items. Raises DataError where it is undefined (one class, a constant column)."""
        return float(self.scores(predictions, target).mean())

    def weighted(self, predictions: Array, target: Array, weights: Array) -> Array:
        """(b,) `value` of b samples, in the r-th of which item i occurs weights[r, i] times (b, n); nan where undefined."""
        if self.kind == "mean":
            return np.asarray(weights @ self.scores(predictions, target) / weights.sum(axis=1))
        return np.array([self._repeated(predictions, target, row) for row in weights])

    def influence(self, predictions: Array, target: Array) -> Array:
        """(n,) empirical influence of each item on `value`: value(F + eps(d_i - F)) = value + eps * influence_i + o(eps).

        Means: scores - mean. A statistic without a closed form raises TypeError and is bootstrapped at any size.
        """
        scores = self.scores(predictions, target)
        return np.asarray(scores - scores.mean())

    def _repeated(self, predictions: Array, target: Array, weights: Array) -> float:
        index = np.repeat(np.arange(len(weights)), weights.astype(int))
        try:
            return self.value(predictions[index], target[index])
        except DataError:
            return np.nan


def classes(predictions: Array, threshold: float = 0.5) -> Array:
    """(n,) class of each item: arg-max of scores (n, c), labels (n,) as they are, or whether a score (n,) exceeds `threshold`.

    Floats that are all whole numbers are labels. Raises DataError for answers of more axes.
    """
    if predictions.ndim > 2:
        raise DataError(f"answers of shape {predictions.shape} are no class scores: expected (items, classes) or (items,)")
    if predictions.ndim == 2 and predictions.shape[1] > 1:
        return np.asarray(predictions.argmax(axis=1))
    flat = predictions.reshape(len(predictions))
    if flat.dtype.kind != "f" or np.array_equal(flat, np.round(flat)):
        return flat
    return np.asarray(flat > threshold).astype(int)


def class_labels(predictions: Array, target: Array) -> Array:
    """(n,) the labels, checked to be comparable with the classes of `predictions`; raises DataError if they are not."""
    if target.ndim != 1:
        raise DataError(f"labels have shape {target.shape}; classification needs one class per item (items,)")
    are_words = target.dtype.kind in "USO"
    if are_words and predictions.dtype.kind not in "USO":
        raise DataError(f"labels are words ({target[0]!r}) but answers are numbers: give labels as the index of their class")
    num_classes = predictions.shape[1] if predictions.ndim == 2 and predictions.shape[1] > 1 else None
    if num_classes is not None and (target.min() < 0 or target.max() >= num_classes):
        raise DataError(f"labels run from {target.min()} to {target.max()}, the model's classes from 0 to {num_classes - 1}")
    return target


def rows(predictions: Array, metric: str) -> Array:
    """(n, d) float64 answers, all inner axes flattened; raises DataError for one number per item, which has no direction."""
    if predictions.ndim < 2:
        raise DataError(f"{metric} compares vectors, but the answers are one number per item; use rmse, spearman or accuracy")
    return predictions.reshape(len(predictions), -1).astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """A column (n,) sorted once, so that samples of its items, given as weights (b, n), are ranked without sorting again."""

    order: Array  # (n,) items from the smallest value up
    starts: Array | None  # (values,) where each distinct value begins in `order`; None: all n are distinct
    group: Array  # (n,) the distinct value, counted from the smallest, that each item has

    @classmethod
    def of(cls, column: Array) -> "Ranking":
        order = np.argsort(column, kind="stable")
        begins = np.r_[True, column[order][1:] > column[order][:-1]]
        group = np.empty(len(column), dtype=np.intp)
        group[order] = np.cumsum(begins) - 1
        return cls(order=order, starts=None if begins.all() else np.flatnonzero(begins), group=group)

    @property
    def num_values(self) -> int:
        return len(self.order if self.starts is None else self.starts)

    def mass(self, weights: Array) -> Array:
        """(b, values) weight of each distinct value, from the smallest up."""
        in_order = np.take(weights, self.order, axis=1)
        return in_order if self.starts is None else np.add.reduceat(in_order, self.starts, axis=1)

    def spread(self, by_value: Array) -> Array:
        """(b, n) what (b, values) says of each item's value."""
        return np.take(by_value, self.group, axis=1)
