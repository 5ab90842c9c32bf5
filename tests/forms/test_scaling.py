"""Inputs divided, weights multiplied: the model answers as before, whoever takes the division over."""

import copy

import torch
from torch import nn

from farthing.forms.scaling import Divided, scale_inputs

SCALE = torch.linspace(0.3, 4.0, 16)


class PreNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.left, self.right = nn.LayerNorm(16), nn.Linear(16, 8), nn.Linear(16, 8)
        nn.init.normal_(self.norm.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return self.left(y) * self.right(y)


class PostNorm(PreNorm):
    """The norm's output goes on to the sum as well."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return (self.left(y) * self.right(y)).sum(1) + y.sum(1)


class OnePlusNorm(nn.Module):
    """A norm that multiplies by 1 + weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.rms_norm(x, (16,)) * (1 + self.weight)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(32, 16), nn.Linear(16, 32, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(ids))


def scaled(module: nn.Module, paths: list[str], x: torch.Tensor) -> nn.Module:
    """A scaled copy of `module`, seen to answer as it does."""
    module = module.eval().requires_grad_(False)
    result = copy.deepcopy(module)
    assert scale_inputs(result, paths, SCALE, (x,))
    assert torch.allclose(result(x), module(x), rtol=1e-4, atol=1e-5)
    for path in paths:
        assert torch.allclose(result.get_submodule(path).weight, module.get_submodule(path).weight * SCALE)
    return result


def test_a_norm_that_nobody_else_reads_takes_the_division_over() -> None:
    torch.manual_seed(0)
    result = scaled(PreNorm(), ["left", "right"], torch.randn(5, 16))
    assert type(result.left) is type(result.right) is nn.Linear


def test_a_norm_that_others_read_or_that_multiplies_by_something_else_is_left_alone() -> None:
    torch.manual_seed(0)
    for module, paths in ((PostNorm(), ["left", "right"]), (PreNorm(), ["left"])):
        result = scaled(module, paths, torch.randn(5, 16))
        assert isinstance(result.left, Divided) and torch.equal(result.norm.weight, module.norm.weight)
    odd = PreNorm()
    odd.norm = OnePlusNorm()
    assert isinstance(scaled(odd, ["left", "right"], torch.randn(5, 16)).left, Divided)


def test_without_a_norm_the_layer_divides() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4, bias=False))
    assert isinstance(scaled(module, ["2"], torch.randn(5, 16))[2], Divided)


def test_a_weight_that_is_read_elsewhere_is_left() -> None:
    torch.manual_seed(0)
    module, ids = Tied().eval().requires_grad_(False), torch.arange(6)[None]
    before = module(ids)
    assert not scale_inputs(module, ["head"], SCALE, (ids,))
    assert not scale_inputs(nn.Linear(16, 4).requires_grad_(False), [""], SCALE, (torch.randn(5, 16),))
    assert torch.equal(module(ids), before)
