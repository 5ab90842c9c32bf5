"""F1 of each class, averaged over the classes."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from farthing.errors import DataError
from farthing.metrics.base import Metric, class_labels, classes
from farthing.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class MacroF1(Metric):
    """Mean over classes of F_c = 2 T_c / (P_c + L_c): T true positives, P predicted, L labelled as c.

    The classes are those that occur among answers or labels; `threshold` is that of `accuracy`.
    """

    kind: ClassVar[Literal["mean", "statistic"]] = "statistic"
    needs_labels: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    threshold: float = 0.5

    def value(self, predictions: Array, target: Array) -> float:
        return float(self.weighted(predictions, target, np.ones((1, len(target))))[0])

    def weighted(self, predictions: Array, target: Array, weights: Array) -> Array:
        hits, marks = self._indicators(predictions, target)
        true, total = weights @ hits, weights @ marks
        f1 = np.divide(2 * true, total, out=np.zeros_like(total), where=total > 0)
        return np.asarray(f1.sum(axis=1) / (total > 0).sum(axis=1))

    def influence(self, predictions: Array, target: Array) -> Array:
        """Mean over c of (2 t_ic - F_c (p_ic + l_ic)) / (P_c + L_c), with indicators t, p, l and shares P, L."""
        hits, marks = self._indicators(predictions, target)
        total = marks.mean(axis=0)
        f1 = 2 * hits.mean(axis=0) / total
        return np.asarray(((2 * hits - f1 * marks) / total).mean(axis=1))

    def _indicators(self, predictions: Array, target: Array) -> tuple[Array, Array]:
        """(n, c) whether item i truly belongs to c and was put there; (n, c) how often (0, 1, 2) c is its answer or label."""
        labels = class_labels(predictions, target)
        if (labels == labels[0]).all():
            raise DataError(f"macro_f1 is undefined on one class: all {len(labels)} labels are {labels[0]!r}")
        answers = classes(predictions, self.threshold)
        occurring = np.unique(np.concatenate([labels, answers]))
        labelled = (labels[:, None] == occurring).astype(np.float64)
        answered = (answers[:, None] == occurring).astype(np.float64)
        return labelled * answered, labelled + answered
