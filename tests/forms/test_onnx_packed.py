"""Packed weights on ONNX Runtime: they stay in their type in the file, and give what the decoded floats give."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.forms import onnx_form, onnx_packed, torch_form
from farthing.forms.packed import Packed, PackedTensor
from farthing.methods.base import Method
from farthing.testing import methods as laws
from farthing.testing import zoo
from farthing.types import MemberRef


@pytest.mark.parametrize(
    ("model", "name", "bits"),
    [("encoder", "awq", 4), ("encoder", "gptq", 8), ("mlp", "gptq", 3), ("encoder", "hqq", 4), ("decoder", "awq", 4)],
)
def test_weights_stay_in_their_type(model: str, name: str, bits: int, tmp_path: Path) -> None:
    source = zoo.source(model, tmp_path / "source")
    context = zoo.context(source)
    method = plugins.make(Method, MemberRef(name=name, knobs=(("bits", bits),)))
    result = method.apply(source, tmp_path / "packed", context)
    graph = plugins.load(Conversion, "torch_to_onnx")().convert(result, tmp_path / "onnx", context)
    nodes = onnx.load(graph.path).graph.node
    products = [node for node in nodes if node.op_type == "MatMulNBits"]
    assert len(products) == len(torch_form.load(result).tensors) > 0
    settings = [{attribute.name: attribute.i for attribute in node.attribute} for node in products]
    assert {(one["bits"], one["accuracy_level"]) for one in settings} == {(8 if bits == 8 else 4, 4)}
    of_torch, of_onnx = laws.answers(result, context)[0], laws.answers(graph, context)[0]
    assert np.abs(of_torch - of_onnx).max() < 0.02 * np.abs(of_torch).max()  # activations are rounded on the way
    plain = plugins.load(Conversion, "torch_to_onnx")().convert(source, tmp_path / "float", context)
    assert graph.path.stat().st_size < plain.path.stat().st_size - 2.5 * sum(one["K"] * one["N"] for one in settings)


def test_offsets_between_points_groups_that_are_no_power_of_two_and_a_bias_give_the_same_numbers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(96, 24)
    codes, scale = torch.randint(0, 16, (24, 96)), torch.rand(24, 2)
    tensor = PackedTensor.of(codes, 4, scale, zero=15 * torch.rand(24, 2), group_size=48)
    assert kept(tmp_path, layer, tensor) == 1


@pytest.mark.parametrize("group_size", [8, None])
def test_what_the_operator_cannot_read_stays_in_float(group_size: int | None, tmp_path: Path) -> None:
    """Groups of 8, and levels that are no grid."""
    torch.manual_seed(0)
    layer, levels = torch.nn.Linear(96, 24), None if group_size else torch.tensor([0.0, 1.0, 2.0, 4.0])
    scale = torch.rand(24, 12 if group_size else 1)
    tensor = PackedTensor.of(torch.randint(0, 4, (24, 96)), 2, scale, levels=levels, group_size=group_size)
    assert kept(tmp_path, layer, tensor) == 0


def kept(directory: Path, layer: torch.nn.Linear, tensor: PackedTensor) -> int:
    """How many layers stay packed; the graph is seen to give what the layer gives."""
    packed, file = Packed(layer, {"weight": tensor}).eval().requires_grad_(False), directory / onnx_form.FILE
    x = torch.randn(7, layer.in_features)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(packed, (x,), file, dynamo=False, input_names=["x"])
    num_kept = onnx_packed.keep_packed(file, packed.tensors)
    (answer,) = onnx_form.OnnxSession(file, threads=1).run({"x": x.numpy()})
    assert np.allclose(answer, packed(x).numpy(), rtol=1e-4, atol=1e-4)
    return num_kept
