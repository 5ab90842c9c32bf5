"""A metric of the person's own, named package.module:function."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from farthing import plugins
from farthing.errors import DataError
from farthing.metrics.base import Metric
from farthing.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Function(Metric):
    """function(predictions (n, ...), labels (n,)) -> float, larger is better. Only its value is known: it is bootstrapped."""

    kind: ClassVar[Literal["mean", "statistic"]] = "statistic"
    needs_labels: ClassVar[bool] = True

    path: str

    def value(self, predictions: Array, target: Array) -> float:
        value = float(plugins.function(self.path)(predictions, target))
        if not np.isfinite(value):
            raise DataError(f"{self.path} gave {value} on {len(target)} items; a metric must be a finite number")
        return value
