"""The precision is that of the traits, never what OpenVINO would choose by itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest

from farthing import pipeline as pipelines
from farthing.errors import BuildError
from farthing.forms import openvino_form
from farthing.runtimes.openvino import OpenVino
from farthing.testing.model_sources import feeds_for
from farthing.types import Pipeline, TensorSpec

from .conftest import Made

TEXT = tuple(TensorSpec(name=name, dtype="int64", shape=("batch", "length")) for name in ("input_ids", "attention_mask"))


@pytest.mark.parametrize(("traits", "precision"), [({"float_weights"}, "f32"), ({"bf16"}, "bf16"), ({"int8"}, "f32")])
def test_precision_follows_the_traits(traits: set[str], precision: str, made: Made) -> None:
    pipeline = replace(made("cnn", "openvino"), traits=frozenset(traits))
    options = openvino_form.options(pipeline, threads=2, streams=3)
    assert (options["INFERENCE_PRECISION_HINT"], options["NUM_STREAMS"], options["INFERENCE_NUM_THREADS"]) == (
        precision,
        "3",
        "6",
    )
    assert f"'{precision}'" in OpenVino().snippet(pipeline)


def test_bfloat16_is_really_used(made: Made) -> None:
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16 instructions: OpenVINO stays in float32")
    pipeline = made("cnn", "openvino")
    feeds = feeds_for(pipeline)
    exact = OpenVino().open(pipeline, threads=1, streams=1).run(feeds)[0]
    rounded = OpenVino().open(replace(pipeline, traits=frozenset({"bf16"})), threads=1, streams=1).run(feeds)[0]
    error = abs(rounded - exact).max() / abs(exact).max()
    assert 1e-5 < error < 0.05, error


def test_a_file_that_is_no_graph_is_named(made: Made) -> None:
    with pytest.raises(BuildError, match=r"OpenVINO cannot compile module\.pkl"):
        OpenVino().open(made("mlp", "torch"), threads=1, streams=1)


@pytest.mark.parametrize(
    ("length", "max_length", "wanted"), [(9, 128, 16), (16, 128, 16), (17, 20, 20), (33, None, 48), (25, 20, 25)]
)
def test_masked_inputs_meet_few_shapes(length: int, max_length: int | None, wanted: int) -> None:
    shapes = openvino_form.FewShapes(
        pipeline(TEXT, (TensorSpec(name="each", dtype="float32", shape=("batch", "length", 2)),), max_length)
    )
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
    shapes = openvino_form.FewShapes(
        pipeline(TEXT[:1], (TensorSpec(name="each", dtype="float32", shape=("batch", "length")),), 128)
    )
    ids = np.ones((1, 9), np.int64)
    assert shapes.padded({"input_ids": ids})["input_ids"] is ids
    assert shapes.cut([ids], {"input_ids": ids})[0] is ids


def test_padding_changes_no_answer(made: Made) -> None:
    encoder = made("encoder", "openvino")
    session = OpenVino().open(encoder, threads=1, streams=1)
    feeds = pipelines.synthetic(encoder, 3, 9)
    wide = {name: np.pad(value, ((0, 0), (0, 23))) for name, value in feeds.items()}
    np.testing.assert_allclose(session.run(feeds)[0], session.run(wide)[0], atol=1e-5)


def pipeline(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], max_length: int | None) -> Pipeline:
    return Pipeline(
        directory=Path(), form="openvino", file="model.xml", inputs=inputs, outputs=outputs, tokenizer="tokenizer.json",
        max_length=max_length, pad_id=7,
    )  # fmt: skip
