"""Weights on an affine grid of b bits, one grid for each group of inputs: which layers, which grids, which codes."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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
    """(path, layer) of the linear layers worth packing. Raises BuildError where there is none, naming the method.

    Not those whose weight is computed from something else (parametrizations): what is packed would not be read.
    """
    found = [
        (path, part) for path, part in module.named_modules()
        if isinstance(part, nn.Linear) and "weight" in part._parameters and part.weight.numel() >= FEWEST_WEIGHTS
    ]  # fmt: skip
    if not found:
        raise BuildError(f"{method}: {type(module).__name__} has no linear layer of {FEWEST_WEIGHTS} weights or more")
    return found


def fitting(group_size: int, num_inputs: int) -> int:
    """The largest size of equal groups that is no larger than asked."""
    return max(size for size in range(1, min(group_size, num_inputs) + 1) if num_inputs % size == 0)


def grid(weight_OGS: torch.Tensor, bits: int, shrink: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """(scale, zero), each (o, g): w ~= scale (code - zero), with codes of 0 to 2**bits - 1 from the least to the largest w.

    scale = (max - min) / (2**bits - 1), zero = -round(min / scale) (asymmetric round to nearest); 0 lies on the grid.
    With `shrink` below 1 both ends are drawn in by it: the points lie closer, what is beyond is clipped.
    """
    least, most = shrink * weight_OGS.amin(-1).clamp_max(0.0), shrink * weight_OGS.amax(-1).clamp_min(0.0)
    scale = ((most - least) / (2**bits - 1)).clamp_min(torch.finfo(torch.float32).tiny)
    scale = half(torch.where(most == least, torch.ones_like(scale), scale))
    return scale, (-least / scale).round().clamp(0, 2**bits - 1)


def half(values: torch.Tensor) -> torch.Tensor:
    """`values` as float16 can hold them, so that they are stored in two bytes; as they are where one is out of its range."""
    size, limits = values.abs(), torch.finfo(torch.float16)
    fits = bool(((size == 0) | (size >= limits.smallest_normal) & (size <= limits.max)).all())
    return values.half().float() if fits else values


def codes(weight_OGS: torch.Tensor, scale_OG: torch.Tensor, zero_OG: torch.Tensor, bits: int) -> torch.Tensor:
    """The nearest point of the grid for each weight: 0 to 2**bits - 1, as floats."""
    return (weight_OGS / scale_OG[..., None]).add_(zero_OG[..., None]).round_().clamp_(0, 2**bits - 1)


def packed(codes_OGS: torch.Tensor, scale_OG: torch.Tensor, zero_OG: torch.Tensor, bits: int) -> PackedTensor:
    """Scales and offsets in the shortest type that holds them as they are."""
    whole = zero_OG.byte()
    zero = whole if torch.equal(whole.float(), zero_OG) else _shortest(zero_OG)
    return PackedTensor.of(codes_OGS.flatten(1), bits, _shortest(scale_OG), zero=zero, group_size=codes_OGS.shape[-1])


def _shortest(values: torch.Tensor) -> torch.Tensor:
    return values.half() if torch.equal(values.half().float(), values) else values


def pack_all(
    module: nn.Module, layers: Iterable[tuple[str, nn.Linear]], group_size: int, one: Callable[[torch.Tensor], PackedTensor]
) -> Packed:
    """`module` with the weight of each layer packed by `one`, which is given it in equal groups (o, g, s)."""
    tensors = {}
    for path, layer in layers:
        size = fitting(group_size, layer.in_features)
        tensors[f"{path}.weight"] = one(layer.weight.detach().float().unflatten(1, (-1, size)))
    return Packed(module, tensors)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What layers that share an input were given: X'X / n and the mean of |x|; both 0 where they were never run."""

    moment: torch.Tensor  # (i, i) float64
    size: torch.Tensor  # (i,)


def sharing(module: nn.Module, layers: Iterable[tuple[str, nn.Linear]], batch: tuple[Any, ...]) -> list[list[str]]:
    """The layers' paths, those that are given one tensor side by side, in the order in which the model runs them.

    Layers that it does not run come last, each alone.
    """
    layers, found = list(layers), list[tuple[torch.Tensor, list[str]]]()

    def watch(path: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            given = inputs[0] if inputs else named["input"]
            if any(path in paths for _, paths in found):
                return
            together = next((paths for tensor, paths in found if tensor is given), None)
            if together is None:
                found.append((given, [path]))
            else:
                together.append(path)

        return hook

    with _hooked([(layer, watch(path)) for path, layer in layers]), torch.no_grad():
        module(*batch)
    run = {path for _, paths in found for path in paths}
    return [paths for _, paths in found] + [[path] for path, _ in layers if path not in run]


def seen(method: str, module: nn.Module, layer: nn.Linear, batches: Iterable[tuple[Any, ...]]) -> Seen:
    """What the layer is given while the module answers the batches. Raises BuildError for NaN and infinity, naming `method`.

    An answer is broken off when the layer was run as often as in the first: what comes after it is not needed.
    """
    total, sizes = torch.zeros(layer.in_features, layer.in_features, dtype=torch.float64), torch.zeros(layer.in_features)
    count, calls, most_calls = 0, 0, 0

    def watch(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        nonlocal count, calls
        x_NI = (inputs[0] if inputs else named["input"]).detach().reshape(-1, layer.in_features).float()
        total.add_(x_NI.T @ x_NI)
        sizes.add_(x_NI.abs().sum(0))
        count, calls = count + len(x_NI), calls + 1
        if calls == most_calls:
            raise _Enough

    with _hooked([(layer, watch)]), torch.no_grad():
        for batch in batches:
            calls = 0
            with suppress(_Enough):
                module(*batch)
            most_calls = most_calls or calls
    if not math.isfinite(float(total.sum())):
        raise BuildError(f"{method}: the calibration batches give NaN or infinity inside the model")
    return Seen(moment=total / max(count, 1), size=sizes / max(count, 1))


class _Enough(Exception):
    """The layer was run; it never leaves `seen`."""


@contextmanager
def _hooked(hooks: Iterable[tuple[nn.Module, Callable[..., None]]]) -> Iterator[None]:
    handles = [part.register_forward_pre_hook(hook, with_kwargs=True) for part, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
