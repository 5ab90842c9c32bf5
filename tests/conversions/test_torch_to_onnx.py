"""Both exporters, the fusion of attention, and modules that cannot be exported."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from farthing.conversions.torch_to_onnx import TorchToOnnx
from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.testing import samples
from farthing.testing.conversions import check_conversion
from farthing.types import TensorSpec

from .conftest import Made


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_attention_can_be_fused(made: Made, tmp_path: Path) -> None:
    result = check_conversion(TorchToOnnx(fuse_attention=True), made("encoder", "torch"), tmp_path)
    assert operators(result.path)["Attention"] == 2, "one for each layer"


def test_without_attention_there_is_nothing_to_fuse(made: Made, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="found no attention"):
        TorchToOnnx(fuse_attention=True).convert(made("mlp", "torch"), tmp_path, samples.context(made("mlp", "torch")))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch.onnx's own imports
def test_torch_export_gives_the_same(made: Made, tmp_path: Path) -> None:
    check_conversion(TorchToOnnx(exporter="export"), made("cnn", "torch"), tmp_path)


class Sorted(torch.nn.Module):
    """An operator that ONNX does not have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvalsh(x @ x.transpose(1, 2))


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    inputs = (TensorSpec(name="x", dtype="float32", shape=("batch", 3, 3)),)
    (tmp_path / "source").mkdir()
    source = torch_form.snapshot(Sorted(), inputs, {"x": np.ones((1, 3, 3), np.float32)}, tmp_path / "source")
    with pytest.raises(BuildError, match="torch cannot export Sorted to ONNX"):
        TorchToOnnx().convert(source, tmp_path / "result", samples.context(source))
