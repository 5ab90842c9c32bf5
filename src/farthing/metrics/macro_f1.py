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
        _, _, true, total = self._counts(predictions, target)
        return float((2 * true / total).mean())

    def weighted(self, predictions: Array, target: Array, weights: Array) -> Array:
        labels, answers, _, total = self._counts(predictions, target)
        each = np.eye(len(total))
        true = weights @ (each[labels] * (labels == answers)[:, None])
        total = weights @ (each[labels] + each[answers])
        f1 = np.divide(2 * true, total, out=np.zeros_like(total), where=total > 0)
        return np.asarray(f1.sum(axis=1) / (total > 0).sum(axis=1))

    def influence(self, predictions: Array, target: Array) -> Array:
        """Mean over c of (2 t_c - F_c (p_c + l_c)) / (P_c + L_c), with indicators t, p, l of an item and shares P, L."""
        labels, answers, true, total = self._counts(predictions, target)
        share, f1 = total / len(labels), 2 * true / total
        hit = 2 * (labels == answers) / share[labels]
        return np.asarray((hit - (f1 / share)[labels] - (f1 / share)[answers]) / len(total))

    def _counts(self, predictions: Array, target: Array) -> tuple[Array, Array, Array, Array]:
        """Label and answer of each item as positions (n,) among the classes that occur; T_c and P_c + L_c (c,) of these."""
        labels = class_labels(predictions, target)
        if (labels == labels[0]).all():
            raise DataError(f"macro_f1 is undefined on one class: all {len(labels)} labels are {labels[0]!r}")
        occurring, position = np.unique(np.concatenate([labels, classes(predictions, self.threshold)]), return_inverse=True)
        labels, answers = position[: len(labels)], position[len(labels) :]
        total = np.bincount(position)
        true = np.bincount(labels[labels == answers], minlength=len(occurring))
        return labels, answers, true, total
