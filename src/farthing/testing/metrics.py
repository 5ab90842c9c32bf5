"""The laws of a metric, as checks that any member, yours too, can be put through."""

from collections.abc import Callable, Iterator

import numpy as np

from farthing.errors import DataError
from farthing.metrics.base import Metric
from farthing.types import Array

NUM_ITEMS = 60


def check_metric(metric: Metric) -> None:
    """Every law, on every kind of answers that the metric accepts; AssertionError if it accepts none or breaks one."""
    accepted = 0
    for predictions, target in answers(metric.needs_labels):
        try:
            metric.value(predictions, target)
        except DataError:
            continue
        accepted += 1
        for check in (check_order, check_mean, check_agreement, check_weighted, check_influence):
            check(metric, predictions, target)
    assert accepted, f"{metric} refuses every kind of answers: see farthing.testing.metrics.answers"


def answers(labelled: bool) -> Iterator[tuple[Array, Array]]:
    """(predictions, target) of NUM_ITEMS items: class scores, one score, one number with ties, vectors."""
    draw = np.random.default_rng(7)
    scores = draw.standard_normal((NUM_ITEMS, 3))
    number = np.round(draw.standard_normal(NUM_ITEMS), 1)
    vectors = draw.standard_normal((NUM_ITEMS, 8)).astype(np.float32)
    if not labelled:
        yield scores, scores + 0.3 * draw.standard_normal(scores.shape)
        yield vectors, vectors + 0.3 * draw.standard_normal(vectors.shape).astype(np.float32)
        return
    classes = np.where(draw.random(NUM_ITEMS) < 0.6, scores.argmax(axis=1), draw.integers(0, 3, NUM_ITEMS))
    yield scores, classes
    yield number, (number + draw.standard_normal(NUM_ITEMS) > 0).astype(int)
    yield number, np.round(number + 0.5 * draw.standard_normal(NUM_ITEMS), 1)


def check_order(metric: Metric, predictions: Array, target: Array) -> None:
    """`value` ignores the order of items."""
    order = np.random.default_rng(1).permutation(len(target))
    _close(metric.value(predictions[order], target[order]), metric.value(predictions, target), metric)


def check_mean(metric: Metric, predictions: Array, target: Array) -> None:
    """A mean is the mean of its scores, all within bounds (0 or 1 if binary); a statistic has no scores."""
    low, high = metric.bounds
    assert low <= metric.value(predictions, target) <= high, f"{metric}: value outside its bounds {metric.bounds}"
    if metric.kind == "statistic":
        assert _raises(TypeError, lambda: metric.scores(predictions, target)), f"{metric}: a statistic gave scores"
        return
    scores = metric.scores(predictions, target)
    assert scores.shape == (len(target),), f"{metric}: scores of shape {scores.shape} for {len(target)} items"
    assert ((low <= scores) & (scores <= high)).all(), f"{metric}: a score outside its bounds {metric.bounds}"
    assert not metric.binary or set(np.unique(scores)) <= {0.0, 1.0}, f"{metric}: binary, but a score is not 0 or 1"
    assert metric.value(predictions, target) == scores.mean(), f"{metric}: the value is not the mean of the scores"


def check_agreement(metric: Metric, predictions: Array, target: Array) -> None:
    """An agreement metric scores the original against itself with its upper bound, exactly."""
    if not metric.needs_labels:
        own = metric.value(predictions, predictions)
        assert own == metric.bounds[1], f"{metric}: the original agrees with itself by {own}, not {metric.bounds[1]}"


def check_weighted(metric: Metric, predictions: Array, target: Array) -> None:
    """Weights of one give `value`; whole weights, `value` of the items so often repeated."""
    if not metric.resamples:
        return
    n = len(target)
    weights = np.random.default_rng(2).multinomial(n, np.full(n, 1 / n), size=2).astype(float)
    repeated = [np.repeat(np.arange(n), row.astype(int)) for row in weights]
    expected = [metric.value(predictions, target), *(metric.value(predictions[i], target[i]) for i in repeated)]
    for got, wanted in zip(metric.weighted(predictions, target, np.vstack([np.ones(n), weights])), expected, strict=True):
        _close(float(got), wanted, metric)


def check_influence(metric: Metric, predictions: Array, target: Array) -> None:
    """Centred, and the derivative of `weighted` by an item's weight; a metric without a closed form says so (TypeError)."""
    if _raises(TypeError, lambda: metric.influence(predictions, target)):
        return
    influence, n, step = metric.influence(predictions, target), len(target), 1e-5
    assert influence.shape == (n,), f"{metric}: influence of shape {influence.shape} for {n} items"
    assert abs(influence.mean()) < 1e-9, f"{metric}: influence is not centred: its mean is {influence.mean()}"
    if metric.resamples:
        up, down = (metric.weighted(predictions, target, 1 + sign * step * n * np.eye(n)) for sign in (1, -1))
        np.testing.assert_allclose(influence, (up - down) / (2 * step), rtol=1e-3, atol=1e-4, err_msg=str(metric))


def _raises(error: type[Exception], call: Callable[[], object]) -> bool:
    try:
        call()
    except error:
        return True
    return False


def _close(got: float, wanted: float, metric: Metric) -> None:
    assert abs(got - wanted) < 1e-9, f"{metric}: {got} instead of {wanted}"
