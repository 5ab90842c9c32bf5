"""ONNX Runtime's static quantizer: ranges, masks, shared tables, layers kept in float, graphs with nothing to quantize."""

from pathlib import Path

import pytest

from farthing.errors import BuildError
from farthing.methods import ort_static_int8
from farthing.methods.ort_static_int8 import OrtStaticInt8
from farthing.testing import methods as laws
from farthing.testing.methods import answers

from .originals import context_for, cosine, float_products, in_form


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("originals")


def test_a_mask_does_not_ruin_the_ranges(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = in_form("encoder", "onnx", shared)
    context = context_for(source)
    expected = answers(source, context)
    good = cosine(expected, answers(OrtStaticInt8().apply(source, tmp_path / "good", context), context))
    monkeypatch.setattr(ort_static_int8, "ATTENTION", ort_static_int8.OTHER | {"Softmax", "Mul", "Sub", "Where"})
    ruined = cosine(expected, answers(OrtStaticInt8().apply(source, tmp_path / "ruined", context), context))
    assert good > 0.95 and 1.0 - good < 0.4 * (1.0 - ruined), f"{good}; {ruined} with the operators around the mask"


def test_a_shared_table_is_scaled_along_the_axis_of_each_reader(shared: Path, tmp_path: Path) -> None:
    source = in_form("tied", "onnx", shared)
    result = OrtStaticInt8().apply(source, tmp_path, context_for(source))
    assert cosine(answers(source, context_for(source)), answers(result, context_for(source))) > 0.99


def test_the_most_sensitive_layers_stay_in_float(shared: Path, tmp_path: Path) -> None:
    source = in_form("encoder", "onnx", shared)
    assert not float_products(OrtStaticInt8().apply(source, tmp_path / "all", context_for(source)))
    kept = float_products(OrtStaticInt8(keep_float=2).apply(source, tmp_path / "most", context_for(source)))
    assert kept == ["/layer.0/query/MatMul", "/layer.1/down/MatMul"]


def test_nothing_to_quantize(shared: Path, tmp_path: Path) -> None:
    source = in_form("weightless", "onnx", shared)
    with pytest.raises(BuildError, match="no MatMul, Gemm or Conv with constant float weights is left to quantize"):
        OrtStaticInt8().apply(source, tmp_path, context_for(source))


def test_ranges_need_rows_and_numbers(shared: Path, tmp_path: Path) -> None:
    source = in_form("conv_net", "onnx", shared)
    laws.check_needs_rows(OrtStaticInt8(), source, tmp_path, context_for(source))
    laws.check_refuses_nan(OrtStaticInt8(), source, tmp_path / "nan", context_for(source))
