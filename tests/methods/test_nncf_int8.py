"""NNCF's quantizer: outliers, layers kept in float, and graphs with nothing to quantize."""

from pathlib import Path

import numpy as np
import openvino
import pytest

from farthing.errors import BuildError
from farthing.methods.nncf_int8 import NncfInt8
from farthing.testing import methods as laws
from farthing.testing.methods import answers
from farthing.types import Pipeline

from .originals import WIDTH, context_for, cosine, in_form


def float_weights(pipeline: Pipeline, shape: tuple[int, ...]) -> int:
    constants = (op for op in openvino.Core().read_model(pipeline.path).get_ops() if op.get_type_name() == "Constant")
    return sum(op.get_element_type().to_dtype() == np.float32 and tuple(op.shape) == shape for op in constants)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("originals")


def test_smooth_quant_tames_outliers(shared: Path, tmp_path: Path) -> None:
    source = in_form("encoder", "openvino", shared)
    context = context_for(source)
    expected = answers(source, context)
    smooth, plain = (
        cosine(expected, answers(NncfInt8(smooth_quant=alpha).apply(source, tmp_path / str(alpha), context), context))
        for alpha in (NncfInt8().smooth_quant, None)
    )
    assert 1.0 - smooth < 0.7 * (1.0 - plain), f"{smooth} with SmoothQuant, {plain} without"
    assert smooth > 0.99


def test_the_most_sensitive_layer_stays_in_float(shared: Path, tmp_path: Path) -> None:
    source = in_form("encoder", "openvino", shared)
    down = (WIDTH, 4 * WIDTH)
    assert float_weights(source, down) == 2
    result = NncfInt8(keep_float=1).apply(source, tmp_path, context_for(source))
    assert float_weights(result, down) == 1


def test_nothing_to_quantize(shared: Path, tmp_path: Path) -> None:
    source = in_form("weightless", "openvino", shared)
    with pytest.raises(BuildError, match="no MatMul or Convolution with constant float weights is left to quantize"):
        NncfInt8().apply(source, tmp_path, context_for(source))


def test_ranges_need_rows_and_numbers(shared: Path, tmp_path: Path) -> None:
    source = in_form("conv_net", "openvino", shared)
    laws.check_needs_rows(NncfInt8(), source, tmp_path, context_for(source))
    laws.check_refuses_nan(NncfInt8(), source, tmp_path / "nan", context_for(source))
