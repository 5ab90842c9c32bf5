"""Powers of two, three values, two values: each is its paper's equation, and what is packed is what was coded."""

import pytest
import torch
from torch import nn

from farthing.errors import BuildError
from farthing.forms import coded, grids
from farthing.forms.grids import Binary, Grid, PowerOfTwo, Ternary
from farthing.forms.linear_grid import LinearGrid


def bells() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 8, 3, 3, generator=generator) * torch.logspace(-2, 1, 5)[:, None, None, None]


@pytest.mark.parametrize("grid", [PowerOfTwo(bits=2), PowerOfTwo(bits=4), PowerOfTwo(bits=6), Ternary(), Binary()], ids=str)
def test_packed_it_is_what_was_coded(grid: Grid) -> None:
    ours = grid.coded(bells())
    assert torch.allclose(ours.packed().decode(), ours.values(), rtol=6e-4)
    assert ours.packed().decode().shape == (5, 8, 3, 3)


def test_powers_are_those_of_the_rounded_logarithm() -> None:
    weight = torch.tensor([[1.0, -1.3, 1.5, 0.24, -0.13, 0.1, 0.0, 0.0624]])
    values = PowerOfTwo(bits=4).coded(weight).values()  # 7 powers, from 2 down to 1/32
    assert values.tolist() == [[1.0, -1.0, 2.0, 0.25, -0.125, 0.125, 0.0, 0.0625]]
    assert PowerOfTwo(bits=3).coded(weight).values().tolist() == [[1.0, -1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]]


def test_every_weight_is_a_power_of_two_within_its_factor_of_root_two() -> None:
    weight = bells()
    values = PowerOfTwo(bits=5).coded(weight).values()
    kept = values != 0
    assert torch.equal(values[kept].abs().log2(), values[kept].abs().log2().round())
    factor = (values[kept] / weight[kept]).log2()
    far = weight[kept].abs() > values[kept].abs().amin()
    assert factor[far].abs().max() <= 0.5 + 1e-6
    assert kept.float().mean() > 0.99


def test_ternary_and_binary_are_the_equations_of_their_papers() -> None:
    weight = torch.tensor([[1.0, -2.0, 0.25, 0.1, -0.4, 0.0], [0.0] * 6])
    assert Ternary().coded(weight).values().tolist() == [[1.5, -1.5, 0.0, 0.0, 0.0, 0.0], [0.0] * 6]  # d = 0.44
    mean = weight[0].abs().mean().item()
    assert Binary().coded(weight[:1]).values()[0].tolist() == pytest.approx([mean, -mean, mean, mean, -mean, mean])


def test_the_binary_scale_has_the_least_error() -> None:
    weight = bells()
    values = Binary().coded(weight).values()
    error = (values - weight).square().sum()
    assert all((share * values - weight).square().sum() > error for share in (0.9, 1.1))


def test_small_layers_and_named_ones_are_left_alone() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 64), nn.LSTM(64, 8), nn.Embedding(100, 4))
    assert [name for name, _ in grids.weights(module, "m")] == ["1.weight", "2.weight_ih_l0", "2.weight_hh_l0", "3.weight"]
    assert [name for name, _ in grids.weights(module, "m", but=["1", "2"])] == ["3.weight"]
    with pytest.raises(BuildError, match="m: Sequential has no weight of 256 values or more besides 1, 2, 3"):
        grids.weights(module, "m", but=["1", "2", "3"])


def test_scales_that_half_precision_cannot_hold_stay_as_they_are() -> None:
    assert LinearGrid(bits=4).coded(bells()).packed().scale.dtype == torch.float16
    assert LinearGrid(bits=4).coded(1e-6 * bells()).packed().scale.dtype == torch.float32


@pytest.mark.parametrize(
    "grid", [PowerOfTwo(bits=4), Ternary(), Binary(), LinearGrid(bits=4), LinearGrid(bits=3, granularity="tensor")], ids=str
)
def test_a_range_coder_gives_them_back(grid: Grid) -> None:
    tensors = [grid.coded(weight).packed() for weight in (bells(), torch.randn(20, 30))]
    for tensor, again in zip(tensors, coded.read(coded.write(tensors)), strict=True):
        assert torch.equal(again.decode(), tensor.decode())
