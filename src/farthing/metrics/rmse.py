"""Negative root mean squared error."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from farthing.errors import DataError
from farthing.metrics.base import Metric
from farthing.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Rmse(Metric):
    """-sqrt(mean of e_i), e_i the squared error of item i, averaged over its outputs where it has several."""

    kind: ClassVar[Literal["mean", "statistic"]] = "statistic"
    needs_labels: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-np.inf, 0.0)

    def value(self, predictions: Array, target: Array) -> float:
        return -float(np.sqrt(_squared_errors(predictions, target).mean()))

    def weighted(self, predictions: Array, target: Array, weights: Array) -> Array:
        return np.asarray(-np.sqrt(weights @ _squared_errors(predictions, target) / weights.sum(axis=1)))

    def influence(self, predictions: Array, target: Array) -> Array:
        """-(e_i - mean e) / (2 RMSE); zero for a model without any error."""
        errors = _squared_errors(predictions, target)
        mean = errors.mean()
        return np.asarray(-(errors - mean) / (2 * np.sqrt(mean))) if mean > 0 else np.zeros_like(errors)


def _squared_errors(predictions: Array, target: Array) -> Array:
    if target.dtype.kind in "USO":
        raise DataError(f"rmse needs numbers as labels, not {target[0]!r}")
    flat, labels = predictions.reshape(len(predictions), -1), target.reshape(len(target), -1)
    if flat.shape != labels.shape:
        raise DataError(
            f"rmse compares answers of shape {predictions.shape} with labels of shape {target.shape}: make them equal"
        )
    return np.asarray(np.square(flat.astype(np.float64) - labels).mean(axis=1))
