"""What outputs say about themselves at two sizes."""

import numpy as np
import pytest

from farthing.errors import ModelError
from farthing.forms.probing import outputs_of, resized
from farthing.types import Array, Feeds, TensorSpec

INPUTS = (TensorSpec(name="x", dtype="float32", shape=("batch", "length", 3)),)
EXAMPLE = {"x": np.arange(6, dtype=np.float32).reshape(1, 2, 3)}


def test_axes_are_told_by_what_they_follow() -> None:
    def run(feeds: Feeds) -> list[Array]:
        x = feeds["x"]
        return [x.sum(2), x.sum((1, 2)).astype(np.int64), x[:, :1, :2]]

    outputs = outputs_of(run, EXAMPLE, INPUTS)
    assert [(spec.name, spec.dtype, spec.shape) for spec in outputs] == [
        ("output", "float32", ("batch", "length")),
        ("output_1", "int64", ("batch",)),
        ("output_2", "float32", ("batch", 1, 2)),
    ]
    assert [spec.name for spec in outputs_of(run, EXAMPLE, INPUTS, ("a", "b", "c"))] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: x.sum(0), "first axis must be the batch"),
        (lambda x: x.reshape(-1), "follows neither batch nor length"),
        (lambda x: x[:, :, 0] if len(x) == 2 else x, "for a small input"),
        (lambda x: x * np.inf, "NaN or infinity"),
        (lambda x: x / 0 if len(x) == 3 else x, "NaN or infinity"),
    ],
)
def test_outputs_without_meaning_are_refused(answer: object, words: str) -> None:
    assert callable(answer)
    with np.errstate(all="ignore"), pytest.raises(ModelError, match=words):
        outputs_of(lambda feeds: [answer(feeds["x"])], EXAMPLE, INPUTS)


def test_outputs_that_change_from_run_to_run_are_refused() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(ModelError, match="differs between two runs"):
        outputs_of(lambda feeds: [feeds["x"] + generator.standard_normal()], EXAMPLE, INPUTS)


def test_sizes_are_changed_in_a_ring() -> None:
    feeds = resized(EXAMPLE, INPUTS, batch=2, length=3)
    assert feeds["x"][:, :, 0].tolist() == [[0, 3, 0], [0, 3, 0]]
    assert EXAMPLE["x"].shape == (1, 2, 3), "the example was changed"
