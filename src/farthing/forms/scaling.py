"""Inputs of linear layers divided by one number each, and the weights multiplied by it: the same answers, other weights."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

SAME = 1e-4  # largest difference of answers, relative to the largest answer, that is the noise of float32


class Divided(nn.Linear):  # type: ignore[misc]
    """y = W (x / s) + b"""

    def __init__(self, linear: nn.Linear, scale_I: torch.Tensor) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.register_buffer("inverse", 1.0 / scale_I)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(input * self.inverse, self.weight, self.bias)


def scale_inputs(module: nn.Module, paths: Sequence[str], scale_I: torch.Tensor, batch: tuple[Any, ...]) -> bool:
    """Multiply the weights of these layers, which are given one tensor, and divide that tensor; False where nothing was done.

    Where the norm that gives the tensor can do so without a change of the answers to `batch`, its weight and bias are divided;
    else each layer becomes a `Divided`. A layer whose weight is read elsewhere too, and one that is the whole module, is left.
    """
    layers = [module.get_submodule(path) for path in paths]
    if bool((scale_I == 1.0).all()) or "" in paths or any(_num_readers(module, layer.weight) > 1 for layer in layers):
        return False
    with torch.no_grad():
        norm = _giver(module, layers[0], batch)
        before = _answers(module, batch)
        for layer in layers:
            layer.weight.mul_(scale_I)
        if norm is not None:
            kept = [(part, part.clone()) for part in (norm.weight, getattr(norm, "bias", None)) if part is not None]
            for part, _ in kept:
                part.div_(scale_I)
            if _alike(before, _answers(module, batch)):
                return True
            for part, value in kept:
                part.copy_(value)
    for path, layer in zip(paths, layers, strict=True):
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, Divided(layer, scale_I).eval())
    return True


def _num_readers(module: nn.Module, weight: torch.Tensor) -> int:
    return sum(value is weight for part in module.modules() for value in part._parameters.values())


def _giver(module: nn.Module, layer: nn.Module, batch: tuple[Any, ...]) -> nn.Module | None:
    """The norm with one weight for each channel whose output this layer is given."""
    given: list[torch.Tensor] = []
    outputs: list[tuple[nn.Module, torch.Tensor]] = []
    norms = [part for part in module.modules() if _is_norm(part, layer.in_features)]
    handles = [norm.register_forward_hook(lambda part, _, output: outputs.append((part, output))) for norm in norms]
    handles.append(layer.register_forward_pre_hook(lambda _, inputs: given.extend(inputs[:1])))
    module(*batch)
    for handle in handles:
        handle.remove()
    return next((norm for norm, output in outputs if any(output is tensor for tensor in given)), None)


def _is_norm(part: nn.Module, num_channels: int) -> bool:
    weight = getattr(part, "weight", None)
    return type(part).__name__.endswith("Norm") and weight is not None and weight.shape == (num_channels,)


def _answers(module: nn.Module, batch: tuple[Any, ...]) -> list[torch.Tensor]:
    outputs = module(*batch)
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


def _alike(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]) -> bool:
    pairs = zip(before, after, strict=True)
    return all(bool((a - b).abs().max() <= SAME * b.abs().max()) for b, a in pairs)
