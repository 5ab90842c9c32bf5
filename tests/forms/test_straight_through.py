"""Straight-through rounding: forward is the grid, gradients are those of LSQ, what is settled is what was computed with."""

import copy

import pytest
import torch
from torch import nn

from farthing.errors import BuildError
from farthing.forms.grids import Binary, Grid, PowerOfTwo, Ternary
from farthing.forms.straight_through import LearnedSteps, Rounded, round_weights, settled


def test_learned_steps_have_the_gradients_of_their_paper() -> None:
    rounding = LearnedSteps(torch.randn(1, 300, generator=torch.Generator().manual_seed(0)), 3)
    rounding.start_O1.fill_(0.5)
    w = torch.tensor([[0.6, -0.3, 5.0, -9.0]], requires_grad=True)
    values = rounding(w)
    assert values.tolist() == [[0.5, -0.5, 1.5, -2.0]]
    values.sum().backward()
    assert w.grad.tolist() == [[1.0, 1.0, 0.0, 0.0]]
    of_step = (1 - 1.2) + (-1 + 0.6) + 3 - 4  # round(w / s) - w / s inside, the limit outside
    share = (4 * 3) ** -0.5
    assert rounding.logarithm_O1.grad.item() == pytest.approx(of_step * 0.5 * share, rel=1e-5)  # ds/dt = s


@pytest.mark.parametrize("grid", [PowerOfTwo(bits=3), Ternary(), Binary()], ids=str)
def test_a_fitted_grid_passes_gradients_as_if_it_were_not_there(grid: Grid) -> None:
    w = torch.randn(4, 70, generator=torch.Generator().manual_seed(0), requires_grad=True)
    values = Rounded(grid)(w)
    assert torch.allclose(values, grid.coded(w.detach()).values(), atol=1e-6)
    values.sum().backward()
    assert (w.grad == 1).all()


@pytest.mark.parametrize("grid", [2, 4, PowerOfTwo(bits=3), Ternary(), Binary()], ids=str)
def test_what_is_settled_is_what_was_computed_with(grid: Grid | int) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 30), nn.LayerNorm(30)).requires_grad_(False)
    x, untouched = torch.randn(16, 20), copy.deepcopy(module)
    rounded = round_weights(module, grid, "m")
    for rounding in rounded.values():
        if isinstance(rounding, LearnedSteps):
            rounding.logarithm_O1.data += 0.2
    expected = module(x)
    packed = settled(module, rounded)
    assert sorted(packed.tensors) == ["0.weight", "2.weight"]
    assert torch.allclose(packed(x), expected, atol=5e-3)  # scales are stored in half precision
    assert not torch.allclose(packed(x), untouched(x), atol=2e-2)
    assert sorted(name for name, _ in packed.module.named_parameters()) == sorted(n for n, _ in untouched.named_parameters())


def test_weights_that_two_layers_share_stay_shared() -> None:
    module = nn.Sequential(nn.Embedding(40, 16), nn.Linear(16, 40, bias=False)).requires_grad_(False)
    module[1].weight = module[0].weight
    rounded = round_weights(module, Binary(), "m")
    expected = module(torch.arange(40))
    packed = settled(module, rounded)
    assert list(packed.tensors) == ["0.weight"] and packed.module[0].weight is packed.module[1].weight
    assert torch.allclose(packed(torch.arange(40)), expected, rtol=2e-3, atol=2e-2)


def test_recurrent_layers_are_left_and_refused_where_there_is_nothing_else() -> None:
    assert list(round_weights(nn.Sequential(nn.Embedding(40, 16), nn.LSTM(16, 16)), 4, "m")) == ["0.weight"]
    with pytest.raises(BuildError, match="m: Sequential has only recurrent layers"):
        round_weights(nn.Sequential(nn.LSTM(16, 16)), 4, "m")
