"""Share of items whose class is the label."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from farthing.metrics.base import Metric, class_labels, classes
from farthing.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy(Metric):
    """Of class scores (n, c), labels (n,), or one score per item (n,), which is class 1 above `threshold` (logits: 0)."""

    kind: ClassVar[Literal["mean", "statistic"]] = "mean"
    needs_labels: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    binary: ClassVar[bool] = True

    threshold: float = 0.5

    def scores(self, predictions: Array, target: Array) -> Array:
        labels = class_labels(predictions, target)
        return np.asarray(classes(predictions, self.threshold) == labels, dtype=np.float64)
