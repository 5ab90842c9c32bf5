"""A metric of one's own: only its value is known."""

import numpy as np
import pytest

from farthing.errors import DataError
from farthing.metrics import metric_of
from farthing.testing.metrics import check_metric
from farthing.types import Array


def within_one(predictions: Array, target: Array) -> float:
    if predictions.ndim > 1:
        raise DataError("one number per item, please")
    return float((np.abs(predictions - target) < 1).mean())


def never(predictions: Array, target: Array) -> float:
    return float("nan")


def test_it_keeps_the_laws() -> None:
    check_metric(metric_of(f"{__name__}:within_one"))


def test_a_value_that_is_no_number_is_refused() -> None:
    with pytest.raises(DataError, match="gave nan on 3 items; a metric must be a finite number"):
        metric_of(f"{__name__}:never").value(np.arange(3), np.arange(3))
