"""Even grids: a code is the nearest value, each range is what it says, and what is packed is what was coded."""

import math

import pytest
import torch

from farthing.forms.grids import Coded
from farthing.forms.linear_grid import LinearGrid, _divergence


def heavy(rows: int = 6, values: int = 512) -> torch.Tensor:
    """Bells with a few far outliers."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(rows, values, generator=generator) * torch.logspace(-2, 1, rows)[:, None]
    weight[:, ::100] *= 8.0
    return weight


def error(coded: Coded, weight: torch.Tensor) -> float:
    return float((coded.values() - weight).square().sum())


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_packed_it_is_what_was_coded(bits: int, granularity: str, symmetric: bool) -> None:
    if symmetric and bits == 1:
        return
    weight = heavy().reshape(6, 16, 32)
    coded = LinearGrid(bits=bits, symmetric=symmetric, granularity=granularity, group_size=60).coded(weight)
    assert len(coded.codes.unique()) <= 2**bits
    assert torch.equal(coded.packed().decode(), coded.values())
    num_groups = {"tensor": 1, "channel": 6, "group": 6 * 16}[granularity]  # 32 is the largest divisor of 512 up to 60
    assert coded.scale.numel() == num_groups


def test_min_max_is_off_by_half_a_step_at_most_and_keeps_zero() -> None:
    weight = heavy()
    weight[:, 3] = 0.0
    for symmetric in (True, False):
        coded = LinearGrid(bits=5, symmetric=symmetric, range="min_max").coded(weight)
        assert ((coded.values() - weight).abs() <= 1.01 * coded.scale / 2).all()  # an offset is rounded by up to half a step
        assert (coded.values()[:, 3] == 0).all()


def test_symmetric_codes_are_those_of_the_equation() -> None:
    weight = torch.tensor([[-3.0, -1.4, 0.0, 0.6, 1.6, 3.0, 2.4, 0.4]])
    coded = LinearGrid(bits=3, range="min_max").coded(weight)
    assert coded.scale.item() == 1.0
    assert (coded.codes[0, 0] - 4).tolist() == [-3, -1, 0, 1, 2, 3, 2, 0]


def test_one_bit_holds_the_two_ends() -> None:
    weight = torch.tensor([[-1.0, 3.0, -0.9, 2.5]])
    assert LinearGrid(bits=1, symmetric=False, range="min_max").coded(weight).values().tolist() == [[-1.0, 3.0, -1.0, 3.0]]


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("symmetric", [True, False])
def test_mse_has_the_least_error_and_percentile_cuts_outliers(bits: int, symmetric: bool) -> None:
    weight = heavy()
    ways = [way for way in ("min_max", "percentile", "mse", "kl") if symmetric or way != "kl"]
    errors = {
        way: error(LinearGrid(bits=bits, symmetric=symmetric, granularity="tensor", range=way).coded(weight), weight)
        for way in ways
    }
    assert errors["mse"] < 1.02 * min(errors.values())  # the shares are 5% apart
    assert errors["mse"] < 0.9 * errors["min_max"]


def test_percentile_cuts_at_every_granularity() -> None:
    weight = torch.randn(100, 64, generator=torch.Generator().manual_seed(0))
    for granularity in ("tensor", "channel", "group"):
        widest, cut = (LinearGrid(bits=4, granularity=granularity, range=r).coded(weight) for r in ("min_max", "percentile"))
        outside = weight.abs() > cut.scale * 7 * 1.001
        assert (cut.scale < widest.scale).all() and 0.009 <= float(outside.float().mean()) <= 0.016


def test_percentile_leaves_one_in_a_hundred_outside() -> None:
    weight = torch.cat([torch.linspace(-1, 1, 3999), torch.tensor([50.0])]).reshape(1, -1)
    grid = LinearGrid(bits=8, range="percentile")
    assert grid.coded(weight).values().max() < 1.01
    assert LinearGrid(bits=8, range="min_max").coded(weight).values().max() == pytest.approx(50.0, rel=1e-3)


def test_kl_clips_a_lone_outlier_and_leaves_an_even_spread_alone() -> None:
    even = torch.linspace(-1, 1, 4096).reshape(1, -1)
    bell = torch.randn(1, 100_000, generator=torch.Generator().manual_seed(0))
    bell[0, 0] = 40.0
    kl = LinearGrid(bits=4, granularity="tensor", range="kl")
    assert kl.coded(even).values().max() > 0.95
    assert kl.coded(bell).values().max() < 20.0


def test_a_filter_of_zeros_stays_zero() -> None:
    weight = heavy()
    weight[2] = 0.0
    for way in ("min_max", "percentile", "mse", "kl"):
        values = LinearGrid(bits=4, range=way).coded(weight).values()
        assert (values[2] == 0).all() and torch.isfinite(values).all()


def test_the_divergence_counts_what_lies_beyond_as_the_last_bin() -> None:
    counts = torch.tensor([4.0, 2.0, 0.0, 2.0], dtype=torch.float64)  # inside: 4, 2; P = 4, 4; Q = 4, 2, a step for each
    assert _divergence(counts, 2, 1) == pytest.approx(0.5 * math.log(0.5 / (2 / 3)) + 0.5 * math.log(0.5 / (1 / 3)))
