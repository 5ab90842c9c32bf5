"""The contract of a metric: how good answers are."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import numpy as np

from farthing.types import Array


class Metric(ABC):
    """A frozen dataclass; its fields are its knobs (`k` of nDCG@k, ...).

    `predictions` are a model's first output for each item (n, ...); for a pair job, the cosine of the two answers (n,).
    `target` is the labels (n,), or the original's predictions where `needs_labels` is False (agreement).

    Laws (checked over every member by `farthing.testing.metrics`):
    - larger is better: metrics of error report their negative (`rmse` is -RMSE).
    - `value` ignores the order of items.
    - kind "mean": `value == scores.mean()`, and `bounds` hold every score. For the racing bounds, both must be exact.
    - an agreement metric scores the original against itself with its upper bound, exactly.
    """

    kind: ClassVar[Literal["mean", "statistic"]]
    needs_labels: ClassVar[bool]
    bounds: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    binary: ClassVar[bool] = False  # every score is 0 or 1: exact or score-based intervals for proportions apply

    @abstractmethod
    def scores(self, predictions: Array, target: Array) -> Array:
        """(n,) score of each item, kind "mean" only; a "statistic" raises TypeError."""

    @abstractmethod
    def value(self, predictions: Array, target: Array) -> float:
        """The metric over all items. Raises DataError where it is undefined (one class, a constant column)."""

    def influence(self, predictions: Array, target: Array) -> Array:
        """(n,) empirical influence of each item on `value`: value(F + eps(d_i - F)) = value + eps * influence_i + o(eps).

        Means: scores - mean. A statistic without a closed form raises TypeError and is bootstrapped at any size.
        """
        scores = self.scores(predictions, target)
        return np.asarray(scores - scores.mean())
