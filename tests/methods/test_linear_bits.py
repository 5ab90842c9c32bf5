"""linear_bits: every layer's weights are stored in so many bits; on OpenVINO they stay packed; bad input is named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.errors import BuildError
from farthing.forms import grouped, torch_form
from farthing.methods.base import Method
from farthing.methods.binary import Binary
from farthing.methods.linear_bits import LinearBits
from farthing.testing import methods as laws
from farthing.testing import zoo
from farthing.testing.profiles import encoder_profile

from .originals import context_for, conv_net, encoder


@pytest.mark.parametrize("make", [encoder, conv_net])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_what_is_stored_takes_so_many_bits(make: object, bits: int, tmp_path: Path) -> None:
    source = make(tmp_path / "source")
    result = laws.check_apply(LinearBits(bits=bits), source, tmp_path, context_for(source))
    tensors = torch_form.load(result).tensors
    num_weights = sum(np.prod(t.shape) for t in tensors.values())
    assert num_weights * bits / 8 < sum(t.num_bytes for t in tensors.values()) < num_weights * (bits / 8 + 0.1)
    assert result.path.stat().st_size < (bits / 32 + 0.2) * source.path.stat().st_size


def test_more_bits_are_nearer(tmp_path: Path) -> None:
    source = encoder(tmp_path / "source")
    context = context_for(source)
    truth = laws.answers(source, context)[0]
    errors = []
    for bits in (8, 5, 3):
        result = LinearBits(bits=bits).apply(source, tmp_path / f"bits{bits}", context)
        errors.append(float(np.square(laws.answers(result, context)[0] - truth).mean()))
    assert errors == sorted(errors)


def test_asymmetric_groups_over_min_max_are_round_to_nearest(tmp_path: Path) -> None:
    """The grid that gptq, awq and hqq begin with."""
    source = zoo.source("mlp", tmp_path / "source")
    context = zoo.context(source)
    ours = LinearBits(bits=4, symmetric=False, granularity="group", range="min_max").apply(source, tmp_path / "ours", context)
    module = torch_form.load(source)
    tensors = torch_form.load(ours).tensors
    for name, tensor in tensors.items():
        weight_OI = module.get_parameter(name).detach()
        weight_OGS = weight_OI.unflatten(1, (-1, grouped.fitting(64, weight_OI.shape[1])))
        scale_OG, zero_OG = grouped.grid(weight_OGS, 4)
        nearest = grouped.packed(grouped.codes(weight_OGS, scale_OG, zero_OG, 4), scale_OG, zero_OG, 4)
        assert (tensor.decode() - nearest.decode()).abs().mean() < 5e-3 * nearest.scale.mean()  # ties may go either way
    assert tensors


@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
@pytest.mark.parametrize("bits", [4, 8])
def test_on_openvino_linear_layers_stay_packed(granularity: str, bits: int, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    source = encoder(tmp_path / "source")
    context = context_for(source)
    packed = LinearBits(bits=bits, granularity=granularity).apply(source, tmp_path / "packed", context)
    convert = plugins.load(Conversion, "torch_to_openvino")()
    graph = convert.convert(packed, tmp_path / "graph", context)
    constants = [op for op in openvino.Core().read_model(graph.path).get_ops() if op.get_type_name() == "Constant"]
    kinds = [op.get_element_type().to_string() for op in constants if op.output(0).get_shape() and np.prod(op.shape) >= 1024]
    assert kinds.count("u8" if bits == 8 else "u4") >= 12 and "f16" not in kinds


@pytest.mark.parametrize(
    "method",
    [LinearBits(bits=4), LinearBits(granularity="tensor"), LinearBits(bits=4, symmetric=False, granularity="group"), Binary()],
    ids=str,
)
def test_on_onnx_linear_layers_stay_packed(method: Method, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    source = encoder(tmp_path / "source")
    context = context_for(source)
    packed = method.apply(source, tmp_path / "packed", context)
    graph = plugins.load(Conversion, "torch_to_onnx")().convert(packed, tmp_path / "graph", context)
    kinds = [node.op_type for node in onnx.load(graph.path).graph.node]
    assert kinds.count("MatMulNBits") >= 12


@pytest.mark.parametrize(("make", "num_packed"), [("conv_net", 2), ("recommender", 4)])
def test_on_openvino_filters_and_tables_are_stored_packed(make: str, num_packed: int, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    if make == "conv_net":
        source = conv_net(tmp_path / "source")
        context = context_for(source)
    else:
        source = zoo.source(make, tmp_path / "source")
        context = zoo.context(source)
    packed = LinearBits().apply(source, tmp_path / "packed", context)
    assert len(torch_form.load(packed).tensors) == num_packed
    graph = plugins.load(Conversion, "torch_to_openvino")().convert(packed, tmp_path / "graph", context)
    constants = [op for op in openvino.Core().read_model(graph.path).get_ops() if op.get_type_name() == "Constant"]
    kinds = [op.get_element_type().to_string() for op in constants if np.prod(op.shape) >= 256]
    assert kinds == ["u8"] * num_packed


def test_weights_that_are_nan_and_a_model_without_any_worth_it_are_refused(tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    module = torch_form.load(source)
    module[2].weight.data[3, 4] = float("nan")
    torch_form.save(module, source.directory)
    with pytest.raises(BuildError, match=r"linear_bits: 2\.weight holds NaN or infinity"):
        LinearBits().apply(source, tmp_path / "result", zoo.context(source))
    torch_form.save(torch.nn.Sequential(torch.nn.Linear(12, 4)), source.directory)
    with pytest.raises(BuildError, match="linear_bits: Sequential has no weight of 256 values or more"):
        LinearBits().apply(source, tmp_path / "result", zoo.context(source))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"bits": 0}, "linear_bits: bits lie between 1 and 8, not 0"),
        ({"bits": 9}, "linear_bits: bits lie between 1 and 8, not 9"),
        ({"bits": 1}, "linear_bits: symmetric codes of 1 bit hold only 0"),
        ({"granularity": "row"}, "linear_bits: granularity is one of tensor, channel, group, not 'row'"),
        ({"range": "max"}, "linear_bits: range is one of min_max, percentile, mse, kl, not 'max'"),
        ({"range": "kl", "symmetric": False}, "linear_bits: range = kl compares sizes"),
        ({"group_size": 0}, "linear_bits: a group has at least 8 values, not 0"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs: dict[str, object], message: str, tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    with pytest.raises(BuildError, match=message):
        LinearBits(**knobs).apply(source, tmp_path / "result", zoo.context(source))


def test_it_is_proposed_only_where_bytes_are_limited() -> None:
    assert "sets no limit" in LinearBits.propose(encoder_profile())
    assert [m.bits for m in LinearBits.propose(replace(encoder_profile(), bytes_are_limited=True))] == [8, 4, 8, 4]
