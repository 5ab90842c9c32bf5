"""The precision is that of the traits, never what OpenVINO would choose by itself."""

from dataclasses import replace

import numpy as np
import openvino
import pytest

from farthing import pipeline as pipelines
from farthing.errors import BuildError
from farthing.forms import openvino_form
from farthing.runtimes.openvino import OpenVino
from farthing.testing.model_sources import feeds_for

from .conftest import Made


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


def test_padding_changes_no_answer(made: Made) -> None:
    encoder = made("encoder", "openvino")
    session = OpenVino().open(encoder, threads=1, streams=1)
    feeds = pipelines.synthetic(encoder, 3, 9)
    wide = {name: np.pad(value, ((0, 0), (0, 23))) for name, value in feeds.items()}
    np.testing.assert_allclose(session.run(feeds)[0], session.run(wide)[0], atol=1e-5)
