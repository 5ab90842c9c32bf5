"""Weights that are rounded at every forward pass and learn as if they were not (straight-through gradients).

Shape suffixes: O first axis of a weight, S the rest.
"""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from farthing.errors import BuildError
from farthing.forms import grids
from farthing.forms.grids import Coded, Grid
from farthing.forms.linear_grid import LinearGrid
from farthing.forms.packed import Packed


class Rounded(nn.Module):  # type: ignore[misc]
    """Q(w) of a grid, fitted anew to w at each pass; dQ/dw = 1 (Bengio et al., arXiv 1308.3432)."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + (self.coded(weight).values() - weight).detach()

    def coded(self, weight: torch.Tensor) -> Coded:
        return self.grid.coded(weight.detach())


class LearnedSteps(nn.Module):  # type: ignore[misc]
    """Q(w) = s clamp(round(w / s), -2^(b-1), 2^(b-1) - 1), with a step s for each filter that learns too.

    Esser et al., LSQ, arXiv 1902.08153: dQ/dw = 1 inside and 0 outside, dQ/ds = round(w / s) - w / s inside and the limit
    outside, scaled by 1 / sqrt(values (2^(b-1) - 1)). s = s0 e^t, and t learns, so that a step stays positive and its rate does
    not depend on its size (as in TQT, arXiv 1903.08066). s0: the step of least squared error.
    """

    def __init__(self, weight: torch.Tensor, bits: int) -> None:
        super().__init__()
        self.bits, self.least, self.most = bits, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        self.register_buffer("start_O1", LinearGrid(bits=bits).coded(weight.detach().float()).scale)
        self.logarithm_O1 = nn.Parameter(torch.zeros_like(self.start_O1))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        flat_OS = weight.flatten(1)
        share = (flat_OS.shape[1] * self.most) ** -0.5
        step_O1 = self.start_O1 * _scaled_gradient(self.logarithm_O1, share).exp()
        inside_OS = (flat_OS / step_O1).clamp(self.least, self.most)
        rounded_OS = inside_OS + (inside_OS.round() - inside_OS).detach()
        return (rounded_OS * step_O1).reshape(weight.shape)

    def coded(self, weight: torch.Tensor) -> Coded:
        step_O1 = grids.stored(self.start_O1 * self.logarithm_O1.detach().exp()).float()
        codes_OS = (weight.detach().flatten(1) / step_O1).round().clamp(self.least, self.most) - self.least
        zero = torch.full((1, 1), -self.least, dtype=torch.uint8)
        return Coded(codes=codes_OS[:, None], bits=self.bits, shape=tuple(weight.shape), scale=step_O1, zero=zero)


def round_weights(
    module: nn.Module, grid: Grid | int, method: str, *, but: Collection[str] = ()
) -> dict[str, Rounded | LearnedSteps]:
    """From now on `module` computes with rounded weights: on `grid`, or with learned steps of so many bits.

    Weights that two layers share are rounded once. Those of recurrent layers are not rounded. Gives what `settled` wants back.
    """
    rounded: dict[str, Rounded | LearnedSteps] = {}
    owners = _owners(module)
    for name, weight in grids.weights(module, method, but=but):
        layers = owners[id(weight)]
        if any(isinstance(layer, nn.RNNBase | nn.RNNCellBase) for layer, _ in layers):
            continue
        rounded[name] = LearnedSteps(weight, grid) if isinstance(grid, int) else Rounded(grid)
        for layer, leaf in layers:
            parametrize.register_parametrization(layer, leaf, rounded[name])
    if not rounded:
        raise BuildError(f"{method}: {type(module).__name__} has only recurrent layers, whose kernels take no rounded weights")
    return rounded


def settled(module: nn.Module, rounded: Mapping[str, Rounded | LearnedSteps]) -> Packed:
    """`module` with the weights that it has learned, packed."""
    tensors = {}
    for name, rounding in rounded.items():
        path, _, leaf = name.rpartition(".")
        original = module.get_submodule(path).parametrizations[leaf].original
        tensors[name] = rounding.coded(original).packed()
    for part in list(module.modules()):
        if parametrize.is_parametrized(part):
            for leaf in [leaf for leaf, chain in part.parametrizations.items() if any(r in rounded.values() for r in chain)]:
                parametrize.remove_parametrizations(part, leaf, leave_parametrized=False)
    return Packed(module, tensors)


def _owners(module: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """id of a parameter -> the layers that hold it, and what they call it."""
    owners: dict[int, list[tuple[nn.Module, str]]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        path, _, leaf = name.rpartition(".")
        owners.setdefault(id(parameter), []).append((module.get_submodule(path), leaf))
    return owners


def _scaled_gradient(value: torch.Tensor, share: float) -> Any:
    """`value`, with a gradient of `share` of its own."""
    return share * value + ((1 - share) * value).detach()
