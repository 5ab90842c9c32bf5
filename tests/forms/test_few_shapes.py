"""Few shapes are met, and what was added leaves no trace in the answers."""

from pathlib import Path

import numpy as np
import pytest

from farthing.forms.few_shapes import FewShapes, fewer_rows
from farthing.types import Pipeline, TensorSpec

TEXT = tuple(TensorSpec(name=name, dtype="int64", shape=("batch", "length")) for name in ("input_ids", "attention_mask"))


@pytest.mark.parametrize(
    ("length", "max_length", "wanted"), [(9, 128, 16), (16, 128, 16), (17, 20, 20), (33, None, 48), (25, 20, 25)]
)
def test_masked_inputs_meet_few_shapes(length: int, max_length: int | None, wanted: int) -> None:
    shapes = FewShapes(pipeline(TEXT, (TensorSpec(name="each", dtype="float32", shape=("batch", "length", 2)),), max_length))
    ids = np.arange(1, 2 * length + 1).reshape(2, length)
    padded = shapes.padded({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    assert padded["input_ids"].shape == padded["attention_mask"].shape == (2, wanted)
    assert (padded["input_ids"][:, :length] == ids).all()
    assert (padded["input_ids"][:, length:] == 7).all()
    assert (padded["attention_mask"].sum(axis=1) == length).all()
    answer = np.random.default_rng(0).normal(size=(2, wanted, 2))
    (cut,) = shapes.cut([answer], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    np.testing.assert_array_equal(cut, answer[:, :length])


def test_what_has_no_mask_is_never_padded() -> None:
    shapes = FewShapes(pipeline(TEXT[:1], (TensorSpec(name="each", dtype="float32", shape=("batch", "length")),), 128))
    ids = np.ones((1, 9), np.int64)
    assert shapes.padded({"input_ids": ids})["input_ids"] is ids
    assert shapes.cut([ids], {"input_ids": ids})[0] is ids


def test_batches_meet_four_sizes_an_octave() -> None:
    sizes = sorted({fewer_rows(n) for n in range(1, 129)})
    assert sizes == [*range(1, 9), 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128]
    assert all(n <= fewer_rows(n) <= 1.25 * n for n in range(1, 5000))


def pipeline(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], max_length: int | None) -> Pipeline:
    return Pipeline(
        directory=Path(), form="openvino", file="model.xml", inputs=inputs, outputs=outputs, tokenizer="tokenizer.json",
        max_length=max_length, pad_id=7,
    )  # fmt: skip
