"""Normalized discounted cumulative gain of the k best-scored documents of each query."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from farthing.errors import DataError, JobError
from farthing.metrics.base import Metric, class_labels
from farthing.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Ndcg(Metric):
    """DCG@k = sum_r gain_r / log2(1 + r) over ranks r = 1..k, divided by that of the best order (Jarvelin & Kekalainen 2002).

    An item is a query: `predictions` (n, c) score its c documents; labels (n, c) are their gains, or (n,) the one that is
    relevant. A query without any gain scores 1: no order of its documents is wrong.
    """

    kind: ClassVar[Literal["mean", "statistic"]] = "mean"
    needs_labels: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    k: int = 10

    def __post_init__(self) -> None:
        if self.k < 1:
            raise JobError(f"ndcg@{self.k}: k counts documents; it must be at least 1")

    def scores(self, predictions: Array, target: Array) -> Array:
        if predictions.ndim != 2:
            raise DataError(
                f"ndcg needs a score for each document (queries, documents); the answers have shape {predictions.shape}"
            )
        gains = target if target.ndim == 2 else np.eye(predictions.shape[1])[class_labels(predictions, target).astype(int)]
        if gains.shape != predictions.shape or gains.min() < 0:
            raise DataError(
                f"ndcg needs one gain >= 0 per document: answers have shape {predictions.shape}, gains {gains.shape}"
            )
        ranked = np.take_along_axis(gains, np.argsort(-predictions, axis=1, kind="stable"), axis=1)
        best = self._discounted(-np.sort(-gains, axis=1))
        return np.divide(self._discounted(ranked), best, out=np.ones_like(best), where=best > 0)

    def _discounted(self, gains: Array) -> Array:
        top = gains[:, : self.k].astype(np.float64)
        return np.asarray(top @ (1.0 / np.log2(np.arange(top.shape[1]) + 2.0)))
