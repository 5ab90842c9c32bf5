"""ONNX Runtime's dynamic quantizer: shared tables, layers kept in float, graphs with nothing to quantize."""

from pathlib import Path

import pytest

from farthing.errors import BuildError
from farthing.methods.ort_dynamic_int8 import OrtDynamicInt8
from farthing.testing import samples
from farthing.testing.methods import answers

from .originals import context_for, cosine, float_products, in_form


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("originals")


def test_a_shared_table_is_scaled_along_the_axis_of_each_reader(shared: Path, tmp_path: Path) -> None:
    source = in_form("tied", "onnx", shared)
    result = OrtDynamicInt8().apply(source, tmp_path, context_for(source))
    assert cosine(answers(source, context_for(source)), answers(result, context_for(source))) > 0.99


def test_the_most_sensitive_layers_stay_in_float(shared: Path, tmp_path: Path) -> None:
    source = in_form("encoder", "onnx", shared)
    assert not float_products(OrtDynamicInt8().apply(source, tmp_path / "all", context_for(source)))
    kept = float_products(OrtDynamicInt8(keep_float=2).apply(source, tmp_path / "most", context_for(source)))
    assert kept == ["/layer.0/query/MatMul", "/layer.1/down/MatMul"]


def test_nothing_to_quantize(shared: Path, tmp_path: Path) -> None:
    source = in_form("weightless", "onnx", shared)
    with pytest.raises(BuildError, match="no MatMul, Gemm or Conv with constant float weights is left to quantize"):
        OrtDynamicInt8().apply(source, tmp_path, context_for(source))


def test_a_classical_model_has_no_weights_to_quantize(tmp_path: Path) -> None:
    source = samples.in_form("logistic", "onnx", tmp_path)
    with pytest.raises(BuildError, match="no MatMul, Gemm or Conv"):
        OrtDynamicInt8().apply(source, tmp_path / "result", samples.context(source))
