"""NNCF's quantizer: outliers, layers kept in float, and graphs with nothing to quantize."""

from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from torch import nn

from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.errors import BuildError
from farthing.methods.nncf_int8 import NncfInt8
from farthing.testing.methods import answers
from farthing.types import Pipeline, TensorSpec

from .originals import WIDTH, context_for, cosine, encoder, snapshot

X = TensorSpec(name="x", dtype="float32", shape=("batch", 8))


class Weightless(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) * 2.0


def in_openvino(source: Pipeline, directory: Path) -> Pipeline:
    return plugins.load(Conversion, "torch_to_openvino")().convert(source, directory, context_for(source))  # type: ignore[type-abstract]


def float_weights(pipeline: Pipeline, shape: tuple[int, ...]) -> int:
    constants = (op for op in openvino.Core().read_model(pipeline.path).get_ops() if op.get_type_name() == "Constant")
    return sum(op.get_element_type().to_dtype() == np.float32 and tuple(op.shape) == shape for op in constants)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    place = tmp_path_factory.mktemp("encoder")
    return in_openvino(encoder(place / "torch"), place / "openvino")


def test_smooth_quant_tames_outliers(source: Pipeline, tmp_path: Path) -> None:
    context = context_for(source)
    expected = answers(source, context)
    smooth, plain = (
        cosine(expected, answers(NncfInt8(smooth_quant=alpha).apply(source, tmp_path / str(alpha), context), context))
        for alpha in (NncfInt8().smooth_quant, None)
    )
    assert 1.0 - smooth < 0.7 * (1.0 - plain), f"{smooth} with SmoothQuant, {plain} without"
    assert smooth > 0.99


def test_the_most_sensitive_layer_stays_in_float(source: Pipeline, tmp_path: Path) -> None:
    down = (WIDTH, 4 * WIDTH)
    assert float_weights(source, down) == 2
    result = NncfInt8(keep_float=1).apply(source, tmp_path, context_for(source))
    assert float_weights(result, down) == 1


def test_nothing_to_quantize(tmp_path: Path) -> None:
    source = in_openvino(snapshot(Weightless, (X,), tmp_path / "torch"), tmp_path / "openvino")
    with pytest.raises(BuildError, match="no MatMul or Convolution with constant float weights is left to quantize"):
        NncfInt8().apply(source, tmp_path / "result", context_for(source))
