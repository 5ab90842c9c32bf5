"""The laws of metrics, over every member."""

import dataclasses

import numpy as np
import pytest

from farthing import plugins
from farthing.metrics.base import Metric
from farthing.testing import metrics as laws
from farthing.types import Array

MEMBERS = [plugins.load(Metric, name) for name in plugins.names(Metric)]
READY = [cls for cls in MEMBERS if all(f.default is not dataclasses.MISSING for f in dataclasses.fields(cls))]


@pytest.mark.parametrize("cls", READY, ids=lambda cls: cls.__name__)
def test_every_member_keeps_the_laws(cls: type[Metric]) -> None:
    laws.check_metric(cls())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _FirstAnswer(Metric):
    """Breaks one law after the other: the value depends on the order, the influence is not its derivative."""

    kind = "statistic"
    needs_labels = True

    def value(self, predictions: Array, target: Array) -> float:
        return float(np.ravel(predictions)[0])

    def influence(self, predictions: Array, target: Array) -> Array:
        return np.arange(len(target)) - (len(target) - 1) / 2.0


@pytest.mark.parametrize("check", [laws.check_order, laws.check_influence])
def test_a_member_that_breaks_a_law_is_caught(check: object) -> None:
    predictions, target = next(laws.answers(labelled=True))
    with pytest.raises(AssertionError):
        check(_FirstAnswer(), predictions, target)  # type: ignore[operator]
