"""The check that every conversion makes of itself."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farthing.conversions.base import Conversion, example, trials
from farthing.errors import WrongOutput
from farthing.types import Array, Context, Feeds, Pipeline, TensorSpec

SOURCE = Pipeline(
    directory=Path("nowhere"),
    form="torch",
    file="",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", "length")),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("batch",)),),
)


class Edge(Conversion):
    source, target = "torch", "onnx"

    def convert(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        raise NotImplementedError


def total(feeds: Feeds) -> list[Array]:
    return [feeds["x"].sum(axis=1)]


def judged(after: Callable[[Feeds], list[Array]], source: Pipeline = SOURCE) -> None:
    Edge().check(total, after, source, Context(calibration=({"x": np.ones((2, 4), np.float32)},)))


def test_equal_outputs_pass() -> None:
    judged(total)
    judged(lambda feeds: [total(feeds)[0] * (1 + 1e-4)])


@pytest.mark.parametrize("factor", [1.01, 0.0, np.nan])
def test_other_outputs_are_named(factor: float) -> None:
    with pytest.raises(WrongOutput, match=r"y of x \(2, 4\) is off by"):
        judged(lambda feeds: [total(feeds)[0] * np.float32(factor)])


def test_another_shape_is_named() -> None:
    with pytest.raises(WrongOutput, match=r"y of x \(2, 4\) has shape \(2, 1\), was \(2,\)"):
        judged(lambda feeds: [total(feeds)[0][:, None]])


def test_what_holds_at_the_traced_size_only_is_found() -> None:
    """The fault of a trace that turned a length into a constant: right for calibration, wrong for other lengths."""
    with pytest.raises(WrongOutput, match=r"x \(1, 5\)"):
        judged(lambda feeds: [feeds["x"][:, :4].sum(axis=1)])


def test_bfloat16_may_round() -> None:
    judged(lambda feeds: [total(feeds)[0] * np.float32(1.01)], replace(SOURCE, traits=frozenset({"bf16"})))


def test_examples_are_calibration_in_another_size() -> None:
    context = Context(calibration=({"x": np.arange(6, dtype=np.float32).reshape(2, 3)},))
    feeds = example(SOURCE, context, batch=3, length=4)["x"]
    assert feeds.tolist() == [[0, 1, 2, 0], [3, 4, 5, 3], [0, 1, 2, 0]]
    assert example(replace(SOURCE, max_length=3), context)["x"].shape == (2, 3), "longer than the model takes"
    assert [trial["x"].shape for trial in trials(SOURCE, Context(calibration=()))] == [(1, 5), (3, 11)]
