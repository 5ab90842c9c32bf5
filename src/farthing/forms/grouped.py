"""Weights on an affine grid of b bits, one grid for each group of inputs: which layers, which grids, which codes."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from farthing.errors import BuildError
from farthing.forms.packed import Packed, PackedTensor

FEWEST_WEIGHTS = 1024  # of a layer: scales and offsets of a smaller one outweigh what its codes save
BITS = (2, 3, 4, 8)


def check(method: str, bits: int, group_size: int) -> None:
    """Raises BuildError for knobs that are none, naming the method."""
    if bits not in BITS:
        raise BuildError(f"{method}: bits are one of {', '.join(map(str, BITS))}, not {bits}")
    if group_size < 8:
        raise BuildError(f"{method}: a group has at least 8 inputs, not {group_size}")


def linears(module: nn.Module, method: str) -> list[tuple[str, nn.Linear]]:
    """(path, layer) of the linear layers worth packing. Raises BuildError where there is none, naming the method."""
    found = [
        (path, part) for path, part in module.named_modules()
        if isinstance(part, nn.Linear) and part.weight.numel() >= FEWEST_WEIGHTS
    ]  # fmt: skip
    if not found:
        raise BuildError(f"{method}: {type(module).__name__} has no linear layer of {FEWEST_WEIGHTS} weights or more")
    return found


def fitting(group_size: int, num_inputs: int) -> int:
    """The largest size of equal groups that is no larger than asked."""
    return max(size for size in range(1, min(group_size, num_inputs) + 1) if num_inputs % size == 0)


def grid(weight_OGS: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(scale, zero), each (o, g): w ~= scale (code - zero), with codes of 0 to 2**bits - 1 from the least to the largest w.

    scale = (max - min) / (2**bits - 1), zero = -round(min / scale) (asymmetric round to nearest); 0 lies on the grid.
    """
    least, most = weight_OGS.amin(-1).clamp_max(0.0), weight_OGS.amax(-1).clamp_min(0.0)
    scale = ((most - least) / (2**bits - 1)).clamp_min(torch.finfo(torch.float32).tiny)
    scale = torch.where(most == least, torch.ones_like(scale), scale)
    return scale, (-least / scale).round()


def codes(weight_OGS: torch.Tensor, scale_OG: torch.Tensor, zero_OG: torch.Tensor, bits: int) -> torch.Tensor:
    """The nearest point of the grid for each weight: 0 to 2**bits - 1, as floats."""
    return (weight_OGS / scale_OG[..., None] + zero_OG[..., None]).round().clamp(0, 2**bits - 1)


def packed(codes_OGS: torch.Tensor, scale_OG: torch.Tensor, zero_OG: torch.Tensor, bits: int) -> PackedTensor:
    return PackedTensor.of(codes_OGS.flatten(1), bits, scale_OG, zero=zero_OG, group_size=codes_OGS.shape[-1])


def pack_all(
    module: nn.Module, layers: Iterable[tuple[str, nn.Linear]], group_size: int, one: Callable[[torch.Tensor], PackedTensor]
) -> Packed:
    """`module` with the weight of each layer packed by `one`, which is given it in equal groups (o, g, s)."""
    tensors = {}
    for path, layer in layers:
        size = fitting(group_size, layer.in_features)
        tensors[f"{path}.weight"] = one(layer.weight.detach().float().unflatten(1, (-1, size)))
    return Packed(module, tensors)


def second_moment(module: nn.Module, layer: nn.Linear, batches: Iterable[tuple[Any, ...]]) -> torch.Tensor:
    """(i, i) X'X / n of what the layer is given while the module answers the batches. Raises BuildError if it is never run."""
    total, count = torch.zeros(layer.in_features, layer.in_features, dtype=torch.float64), 0

    def watch(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal total, count
        x_NI = inputs[0].detach().reshape(-1, layer.in_features).double()
        total += x_NI.T @ x_NI
        count += len(x_NI)

    handle = layer.register_forward_pre_hook(watch)
    with torch.no_grad():
        for batch in batches:
            module(*batch)
    handle.remove()
    if not math.isfinite(float(total.sum())):
        raise BuildError("the calibration batches give NaN or infinity inside the model")
    return total / max(count, 1)
