"""Mean cosine between the candidate's and the original's vectors."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from farthing.metrics.base import Metric, rows
from farthing.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosine(Metric):
    """x.y / sqrt(x.x * y.y) of each item; two zero vectors agree (1), a zero and another do not (0)."""

    kind: ClassVar[Literal["mean", "statistic"]] = "mean"
    needs_labels: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def scores(self, predictions: Array, target: Array) -> Array:
        x, y = rows(predictions, "cosine"), rows(target, "cosine")
        squares = np.einsum("nd,nd->n", x, x) * np.einsum("nd,nd->n", y, y)
        products = np.einsum("nd,nd->n", x, y)
        # sqrt(a * a) is a in IEEE arithmetic: a vector with itself gives 1 exactly
        cosines: Array = products / np.sqrt(np.where(squares > 0, squares, 1.0))
        cosines[~(x.any(axis=1) | y.any(axis=1))] = 1.0
        return np.asarray(cosines.clip(-1.0, 1.0))
