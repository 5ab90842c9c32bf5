"""Attention heads taken out of the shapes: the least first, in modules of transformers and our own; exact against silence."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.methods.prune_heads import PruneHeads
from farthing.runtimes.base import Runtime
from farthing.testing import methods as laws
from farthing.testing import samples, zoo
from farthing.testing.profiles import encoder_profile
from farthing.types import Pipeline, TensorSpec

from .originals import context_for, conv_net, encoder


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


def layers(pipeline: Pipeline) -> list[nn.Module]:
    return list(torch_form.load(pipeline).encoder.encoder.layer)


@pytest.mark.parametrize("importance", ["l1", "l2", "taylor", "activation"])
def test_heads_of_a_bert_leave_the_shapes_of_all_four_layers(tmp_path: Path, importance: str) -> None:
    source = samples.pipeline("encoder", tmp_path / "source")
    result = laws.check_apply(PruneHeads(ratio=0.5, importance=importance), source, tmp_path, samples.context(source))
    left = [layer.attention.self.num_attention_heads for layer in layers(result)]
    assert sum(left) == 4 and min(left) >= 1
    for layer, heads in zip(layers(result), left, strict=True):
        block = layer.attention.self
        shapes = [block.query, block.key, block.value]
        assert [m.weight.shape for m in shapes] == [(8 * heads, 32)] * 3 and block.all_head_size == 8 * heads
        assert layer.attention.output.dense.weight.shape == (32, 8 * heads)


@pytest.mark.parametrize("model", ["encoder", "decoder"])
def test_heads_of_a_module_that_says_nothing_of_their_number(tmp_path: Path, model: str) -> None:
    source = zoo.source(model, tmp_path / "source")
    result = laws.check_apply(PruneHeads(ratio=0.5), source, tmp_path, zoo.context(source))
    assert sum(block.query.out_features for block in torch_form.load(result).blocks) == 4 * 4 * 8 // 2


@pytest.mark.parametrize(("form", "runtime"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_what_is_left_converts_with_any_batch_and_length(tmp_path: Path, form: str, runtime: str) -> None:
    source = samples.pipeline("encoder", tmp_path / "source")
    context = samples.context(source)
    cut = PruneHeads(ratio=0.5).apply(source, tmp_path / "cut", context)
    converted = plugins.load(Conversion, f"torch_to_{form}")().convert(cut, tmp_path / form, context)  # type: ignore[type-abstract]
    session = plugins.load(Runtime, runtime)().open(converted, threads=1, streams=1)  # type: ignore[type-abstract]
    before = torch_form.TorchSession(torch_form.load(cut), cut.inputs, threads=1)
    for batch, length in ((1, 3), (5, 11)):
        ids = np.random.default_rng(batch).integers(4, 18, (batch, length))
        feeds = {s.name: np.zeros_like(ids) if s.name == "token_type_ids" else np.ones_like(ids) for s in cut.inputs}
        feeds["input_ids"] = ids
        assert np.abs(session.run(feeds)[0] - before.run(feeds)[0]).max() < 0.02
    session.close()


@pytest.mark.parametrize("importance", ["taylor", "activation"])
def test_a_head_that_nothing_looks_at_goes_first(tmp_path: Path, importance: str) -> None:
    """Its values are zero on every item, although its other weights are large."""
    source = samples.pipeline("encoder", tmp_path / "source")
    module = torch_form.load(source)
    block = module.encoder.encoder.layer[1].attention.self
    block.value.weight[8:16], block.value.bias[8:16] = 0.0, 0.0
    block.query.weight[8:16] *= 30.0
    expected = torch.cat([block.value.weight[:8], block.value.weight[16:]])
    torch_form.save(module, source.directory)
    result = PruneHeads(ratio=0.125, importance=importance).apply(source, tmp_path / "result", samples.context(source))
    assert torch.equal(layers(result)[1].attention.self.value.weight, expected)
    by_norm = PruneHeads(ratio=0.125, importance="l2").apply(source, tmp_path / "norm", samples.context(source))
    assert any(torch.equal(part, torch.zeros(8, 32)) for part in layers(by_norm)[1].attention.self.value.weight.split(8))


def test_a_module_whose_code_fixes_the_number_of_heads_is_refused(tmp_path: Path) -> None:
    """unflatten(2, (4, -1)) runs on half of the width too, as four heads of half the size."""
    source = encoder(tmp_path / "source")
    module = torch_form.load(source)
    for layer in module.layer:
        layer.num_heads = 4
    torch_form.save(module, source.directory)
    with pytest.raises(BuildError, match="prune_heads: the code of Encoder fixes the number of heads"):
        PruneHeads(ratio=0.5).apply(source, tmp_path / "result", context_for(source))


def test_what_has_no_such_heads_is_refused_by_name(tmp_path: Path) -> None:
    plain = conv_net(tmp_path / "plain")
    with pytest.raises(BuildError, match="prune_heads: ConvNet runs no attention"):
        PruneHeads().apply(plain, tmp_path / "result", context_for(plain))
    unknown = encoder(tmp_path / "unknown")
    with pytest.raises(BuildError, match=r"prune_heads: how many heads layer\.0 has is told neither"):
        PruneHeads().apply(unknown, tmp_path / "result", context_for(unknown))
    inputs = (TensorSpec(name="x", dtype="float32", shape=("batch", 3, 8)),)
    (tmp_path / "joined").mkdir()
    joined = torch_form.snapshot(Joined(), inputs, {"x": np.zeros((2, 3, 8), np.float32)}, tmp_path / "joined")
    feeds = tuple({"x": np.random.default_rng(i).standard_normal((2, 3, 8)).astype(np.float32)} for i in range(4))
    with pytest.raises(BuildError, match=r"prune_heads: .* of attention \(MultiheadAttention\) are one layer"):
        PruneHeads().apply(joined, tmp_path / "result", replace(context_for(plain), calibration=feeds))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"ratio": 1.0}, "between 0 and 1, not 1"),
        ({"ratio": 0.01}, "prune_heads: 0.01 of the 8 heads in 2 blocks is none"),
        ({"importance": "size"}, "one of l1, l2, taylor, activation, not 'size'"),
    ],
)
def test_knobs_out_of_range_are_refused(tmp_path: Path, knobs: dict[str, float], message: str) -> None:
    source = samples.pipeline("encoder", tmp_path / "source")
    with pytest.raises(BuildError, match=message):
        PruneHeads(**knobs).apply(source, tmp_path / "result", samples.context(source))


def test_too_few_rows_are_named(tmp_path: Path) -> None:
    source = samples.pipeline("encoder", tmp_path / "source")
    laws.check_needs_rows(PruneHeads(), source, tmp_path, samples.context(source))


def test_it_is_proposed_where_there_is_attention() -> None:
    profile = replace(encoder_profile(), num_train=1000)
    mild, daring = PruneHeads.propose(profile)
    assert 1.05 < mild.predicted_speedup(profile) < daring.predicted_speedup(profile) < 1.5
    assert PruneHeads.propose(encoder_profile()) == (mild,)
    without = replace(profile, ops=tuple(op for op in profile.ops if op.kind != "attention"))
    assert "no operator of the profile is attention" in PruneHeads.propose(without)
