"""Layers multiplied out: the same answers from fewer layers; what is read twice, or cannot be traced, stays or is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.methods.fuse import Fuse
from farthing.results import Op
from farthing.testing import methods as laws
from farthing.testing import samples, zoo
from farthing.testing.profiles import encoder_profile
from farthing.types import Pipeline, TensorSpec

from .originals import context_for, conv_net, weightless

INPUTS = (TensorSpec(name="input", dtype="float32", shape=("batch", 12)),)


def snapshot(module: nn.Module, directory: Path) -> Pipeline:
    directory.mkdir()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2.0)
                part.weight.normal_()
                part.bias.normal_()
    return torch_form.snapshot(module.eval(), INPUTS, {"input": np.zeros((2, 12), np.float32)}, directory)


class Chain(nn.Module):
    """Three linear layers, a BatchNorm and Dropouts: of the first, a thin middle; the last two have a nonlinearity between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(12, 40), nn.Linear(40, 16), nn.Linear(16, 16, bias=False)
        self.norm, self.dropout, self.head = nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 5)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        x_BD = self.norm(self.third(self.dropout(self.second(self.first(input)))))
        return self.head(torch.relu(x_BD))


class ReadTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 40), nn.Linear(40, 40)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        x_BD = self.first(input)
        return self.second(x_BD) + x_BD


class Bottleneck(nn.Module):
    """As one it would have 12 x 12 products, not 12 x 2 x 2."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(12, 2), nn.Linear(2, 12)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.up(self.down(input))


class Tokens(nn.Module):
    """A BatchNorm over the tokens of (items, tokens, features) stands behind a linear layer, and is none of its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.norm(self.linear(input.unflatten(1, (3, 4)))).flatten(1)


def check_same(source: Pipeline, tmp_path: Path) -> nn.Module:
    context = zoo.context(source) if source.inputs[0].name == "image" else context_for(source)
    result = laws.check_apply(Fuse(), source, tmp_path, context)
    before, after = (laws.answers(p, context)[0] for p in (source, result))
    assert np.allclose(before, after, atol=1e-4 * np.abs(before).max())
    module: nn.Module = torch_form.load(result)
    return module


def test_batch_norms_go_into_their_convolutions(tmp_path: Path) -> None:
    module = check_same(zoo.source("cnn", tmp_path / "source"), tmp_path)
    assert isinstance(module.first_norm, nn.Identity) and isinstance(module.second_norm, nn.Identity)


def test_a_sequence_is_traced_too(tmp_path: Path) -> None:
    module = check_same(conv_net(tmp_path / "source"), tmp_path)
    assert isinstance(module.body[1], nn.Identity)


def test_linear_layers_in_a_row_and_the_norm_behind_them_become_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = check_same(snapshot(Chain(), tmp_path / "source"), tmp_path)
    kept = [part for part in module.modules() if isinstance(part, nn.Linear)]
    assert [(part.in_features, part.out_features) for part in kept] == [(12, 16), (16, 5)]
    assert isinstance(module.norm, nn.Identity)


@pytest.mark.parametrize("make", [ReadTwice, Bottleneck, Tokens])
def test_what_cannot_be_multiplied_out_or_saves_nothing_stays(tmp_path: Path, make: type[nn.Module]) -> None:
    source = snapshot(make(), tmp_path / "source")
    with pytest.raises(BuildError, match=f"fuse: {make.__name__} has no BatchNorm behind"):
        Fuse().apply(source, tmp_path / "result", context_for(source))


def test_what_cannot_be_traced_or_has_nothing_is_refused_by_name(tmp_path: Path) -> None:
    encoder = samples.pipeline("encoder", tmp_path / "encoder")
    with pytest.raises(BuildError, match=r"fuse: torch\.fx cannot trace Embedder"):
        Fuse().apply(encoder, tmp_path / "result", samples.context(encoder))
    nothing = weightless(tmp_path / "nothing")
    with pytest.raises(BuildError, match="fuse: Weightless has no BatchNorm"):
        Fuse().apply(nothing, tmp_path / "result", context_for(nothing))


def test_it_is_proposed_where_batch_norm_takes_time() -> None:
    profile = encoder_profile()
    assert "takes too little" in Fuse.propose(profile)
    seconds = 0.1 * sum(op.seconds for op in profile.ops)
    norm = replace(profile.ops[0], name="native_batch_norm 8x64x32x32", kind="norm", seconds=seconds)
    assert isinstance(norm, Op)
    (method,) = Fuse.propose(replace(profile, ops=(*profile.ops, norm)))
    assert 1.05 < method.predicted_speedup(replace(profile, ops=(*profile.ops, norm))) < 1.2
