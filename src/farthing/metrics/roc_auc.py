"""Area under the ROC curve: of one score, or one class against the rest averaged over classes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from farthing.errors import DataError
from farthing.metrics.base import Metric, Ranking, class_labels
from farthing.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class RocAuc(Metric):
    """P(score of a positive > score of a negative) + P(equal) / 2.

    Answers (n,) score the larger of two labels, (n, 2) by the second minus the first, (n, c) class by class (mean).
    """

    kind: ClassVar[Literal["mean", "statistic"]] = "statistic"
    needs_labels: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def value(self, predictions: Array, target: Array) -> float:
        return float(self.weighted(predictions, target, np.ones((1, len(target))))[0])

    def weighted(self, predictions: Array, target: Array, weights: Array) -> Array:
        areas = [_area(scores, positive, weights) for scores, positive in _problems(predictions, target)]
        return np.asarray(np.mean(areas, axis=0))

    def influence(self, predictions: Array, target: Array) -> Array:
        """Of a positive: (P(negative below it) - AUC) / share of positives; of a negative likewise (DeLong et al. 1988)."""
        return np.asarray(np.mean([_influence(*problem) for problem in _problems(predictions, target)], axis=0))


def _problems(predictions: Array, target: Array) -> Iterator[tuple[Array, Array]]:
    """(scores (n,), whether positive (n,)) of each class against the rest; of two classes, only the second's."""
    if target.ndim != 1 or predictions.ndim > 2:
        raise DataError(
            f"roc_auc needs scores (items,) or (items, classes), not {predictions.shape} with labels {target.shape}"
        )
    labels = class_labels(predictions, target)
    occurring = np.unique(labels)
    if len(occurring) < 2:
        raise DataError(f"roc_auc is undefined on one class: all {len(labels)} labels are {occurring[0]!r}")
    num_classes = predictions.shape[1] if predictions.ndim == 2 else 1
    if num_classes <= 2:
        if len(occurring) > 2:
            raise DataError(
                f"roc_auc: {len(occurring)} classes of labels, but the model scores only two: give (items, classes)"
            )
        scores = predictions.reshape(len(labels)) if num_classes == 1 else predictions[:, 1] - predictions[:, 0]
        yield scores, labels == occurring[1]
    elif len(occurring) < num_classes:
        raise DataError(f"roc_auc: only {len(occurring)} of the model's {num_classes} classes occur among {len(labels)} labels")
    else:
        for position, label in enumerate(occurring):
            yield predictions[:, position], labels == label


def _area(scores: Array, positive: Array, weights: Array) -> Array:
    """(b,) sum over positives of the weight of negatives below, ties half, / (positives * negatives)."""
    ranking = Ranking.of(scores)
    up = ranking.mass(weights * positive)
    down = ranking.mass(weights) - up
    pairs = np.einsum("bv,bv->b", up, np.cumsum(down, axis=1) - down / 2)
    all_pairs = up.sum(axis=1) * down.sum(axis=1)
    return np.asarray(pairs / np.where(all_pairs > 0, all_pairs, np.nan))


def _influence(scores: Array, positive: Array) -> Array:
    unique, group = np.unique(scores, return_inverse=True)
    up, down = (np.bincount(group[mask], minlength=len(unique)) / mask.sum() for mask in (positive, ~positive))
    below = (np.cumsum(down) - down / 2)[group]
    above = (1 - np.cumsum(up) + up / 2)[group]
    area = below[positive].mean()
    share = positive.mean()
    return np.asarray(np.where(positive, (below - area) / share, (above - area) / (1 - share)))
