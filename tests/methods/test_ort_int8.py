"""ONNX Runtime's quantizers: masks, shared tables, layers kept in float, and graphs with nothing to quantize."""

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.errors import BuildError
from farthing.methods import ort_static_int8
from farthing.methods.base import Method
from farthing.methods.ort_dynamic_int8 import OrtDynamicInt8
from farthing.methods.ort_static_int8 import OrtStaticInt8
from farthing.testing.methods import answers
from farthing.types import Pipeline, TensorSpec

from .originals import VOCABULARY, WIDTH, context_for, cosine, encoder, snapshot

IDS = TensorSpec(name="input_ids", dtype="int64", shape=("batch", "length"))
X = TensorSpec(name="x", dtype="float32", shape=("batch", 8))
BOTH = pytest.mark.parametrize("method", [OrtDynamicInt8(), OrtStaticInt8()], ids=["dynamic", "static"])


class Tied(nn.Module):
    """The table of the embedding is the head's weight too."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)
        self.embedding.weight.data *= torch.logspace(-2, 1, WIDTH)  # very unlike channels, and
        self.embedding.weight.data *= torch.logspace(-1, 1, VOCABULARY)[:, None]  # very unlike rows
        self.head.weight = self.embedding.weight

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(input_ids).mean(1))


class Weightless(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) * 2.0


def in_onnx(source: Pipeline, directory: Path) -> Pipeline:
    conversion = plugins.load(Conversion, "torch_to_onnx")()  # type: ignore[type-abstract]
    return conversion.convert(source, directory, context_for(source))


def float_products(pipeline: Pipeline) -> list[str]:
    """Names of the MatMul and Gemm operators that have a float weight."""
    graph = onnx.load(pipeline.path).graph
    weights = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 2}
    return [node.name for node in graph.node if node.op_type in ("MatMul", "Gemm") and weights.intersection(node.input)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    place = tmp_path_factory.mktemp("encoder")
    return in_onnx(encoder(place / "torch"), place / "onnx")


def test_a_mask_does_not_ruin_the_ranges(source: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = context_for(source)
    expected = answers(source, context)
    good = cosine(expected, answers(OrtStaticInt8().apply(source, tmp_path / "good", context), context))
    monkeypatch.setattr(ort_static_int8, "ATTENTION", ort_static_int8.OTHER | {"Softmax", "Mul", "Sub", "Where"})
    ruined = cosine(expected, answers(OrtStaticInt8().apply(source, tmp_path / "ruined", context), context))
    assert good > 0.95 and 1.0 - good < 0.4 * (1.0 - ruined), f"{good}; {ruined} with the operators around the mask"


@BOTH
def test_a_shared_table_is_scaled_along_the_axis_of_each_reader(method: Method, tmp_path: Path) -> None:
    source = in_onnx(snapshot(Tied, (IDS,), tmp_path / "torch"), tmp_path / "onnx")
    result = method.apply(source, tmp_path / "result", context_for(source))
    assert cosine(answers(source, context_for(source)), answers(result, context_for(source))) > 0.99


@pytest.mark.parametrize("kind", [OrtDynamicInt8, OrtStaticInt8])
def test_the_most_sensitive_layers_stay_in_float(kind: type, source: Pipeline, tmp_path: Path) -> None:
    assert not float_products(kind().apply(source, tmp_path / "all", context_for(source)))
    kept = float_products(kind(keep_float=2).apply(source, tmp_path / "most", context_for(source)))
    assert kept == ["/layer.0/query/MatMul", "/layer.1/down/MatMul"]


@BOTH
def test_nothing_to_quantize(method: Method, tmp_path: Path) -> None:
    source = in_onnx(snapshot(Weightless, (X,), tmp_path / "torch"), tmp_path / "onnx")
    with pytest.raises(BuildError, match="no MatMul, Gemm or Conv with constant float weights is left to quantize"):
        method.apply(source, tmp_path / "result", context_for(source))
