"""Share of items that the candidate puts in the same class as the original."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from farthing.metrics.base import Metric, classes
from farthing.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgmaxAgreement(Metric):
    """Classes as in `accuracy`; the original's stand in for labels."""

    kind: ClassVar[Literal["mean", "statistic"]] = "mean"
    needs_labels: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    binary: ClassVar[bool] = True

    threshold: float = 0.5

    def scores(self, predictions: Array, target: Array) -> Array:
        same = classes(predictions, self.threshold) == classes(target, self.threshold)
        return np.asarray(same, dtype=np.float64)
