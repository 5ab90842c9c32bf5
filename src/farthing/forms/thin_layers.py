"""A linear or convolution layer as two thin ones, from the singular values of its weight.

Shape suffixes: I what one output reads, O outputs, R rank.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from farthing.forms.torch_layers import Sample, calls, input_rows, matrix, thinned, watched, weighted

LEAST_SAVING = 0.1  # of a layer's products: with less, two kernels are not faster than one
DAMPING = 1e-4  # of the mean diagonal of X'X: fewer rows than inputs leave it singular

Choose = Callable[[torch.Tensor], int]  # singular values, the largest first -> rank


def treated(module: nn.Module, sample: Sample) -> dict[str, Any]:
    """Path -> linear layer or convolution of one group that the forward pass calls."""
    layers = {path: layer for path, layer in weighted(module).items() if getattr(layer, "groups", 1) == 1}
    called = set(calls(module, list(layers), sample.arguments))
    return {path: layer for path, layer in layers.items() if path in called}


def second_moments(module: nn.Module, paths: Sequence[str], samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
    """Path -> X'X / n, over the rows that a layer multiplies by its weight."""
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}

    def visit(path: str, x: torch.Tensor, _: Any) -> None:
        x_NI = thinned(input_rows(module.get_submodule(path), x))[0].double()
        sums[path] = sums[path] + x_NI.T @ x_NI if path in sums else x_NI.T @ x_NI
        counts[path] = counts.get(path, 0) + len(x_NI)

    with torch.no_grad(), watched(module, paths, visit):
        for sample in samples:
            module(*sample.arguments)
    return {path: total / counts[path] for path, total in sums.items()}


def most_rank(layer: Any, *, spatial: bool) -> int:
    whole = _spatial(layer) if spatial and _is_image(layer) else matrix(layer)[0]
    return int(min(whole.shape))


def thin(layer: Any, moment_II: torch.Tensor | None, choose: Choose, *, spatial: bool) -> nn.Module | None:
    """Two layers that do the work of `layer`; None where they would not have less of it."""
    if spatial and _is_image(layer):
        return _along_each_axis(layer, choose)
    whole_OI = matrix(layer)[0].double()
    L_II = torch.eye(whole_OI.shape[1], dtype=torch.float64) if moment_II is None else _root(moment_II)
    U_OR, S_R, Vt_RI = torch.linalg.svd(whole_OI @ L_II, full_matrices=False)
    rank = choose(S_R)
    if rank * sum(whole_OI.shape) > (1 - LEAST_SAVING) * whole_OI.numel():
        return None
    first = torch.linalg.solve_triangular(L_II, Vt_RI[:rank], upper=False, left=False)
    return _pair(*_channel_layers(layer, rank), first, U_OR[:, :rank] * S_R[:rank], layer.bias)


def _root(moment_II: torch.Tensor) -> torch.Tensor:
    damping = DAMPING * moment_II.diagonal().mean().clamp_min(1e-12)
    return torch.linalg.cholesky(moment_II + damping * torch.eye(len(moment_II), dtype=moment_II.dtype))  # type: ignore[no-any-return]


def _along_each_axis(layer: Any, choose: Choose) -> nn.Module | None:
    outputs, inputs, height, width = layer.weight.shape
    U, S_R, Vt = torch.linalg.svd(_spatial(layer).double(), full_matrices=False)
    rank = choose(S_R)
    products = rank * (
        inputs * height * layer.stride[1] + outputs * width
    )  # the first runs on columns that are not yet strided
    if products > (1 - LEAST_SAVING) * layer.weight.numel():
        return None
    down, up = _spatial_layers(layer, rank)
    first = (U[:, :rank] * S_R[:rank].sqrt()).T.reshape(rank, inputs, height, 1)
    second = (S_R[:rank, None].sqrt() * Vt[:rank]).reshape(rank, outputs, width).permute(1, 0, 2)
    return _pair(down, up, first, second, layer.bias)


def _spatial(layer: Any) -> torch.Tensor:
    """(inputs height, outputs width)"""
    return layer.weight.detach().permute(1, 2, 0, 3).flatten(2).flatten(0, 1)  # type: ignore[no-any-return]


def _is_image(layer: Any) -> bool:
    return isinstance(layer, nn.Conv2d)


def _channel_layers(layer: Any, rank: int) -> tuple[Any, Any]:
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features)
    kind, how = type(layer), {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    down = kind(layer.in_channels, rank, layer.kernel_size, bias=False, padding_mode=layer.padding_mode, **how)
    return down, kind(rank, layer.out_channels, 1)


def _spatial_layers(layer: Any, rank: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    def axis(number: int) -> dict[str, Any]:
        def alone(values: Any, other: int) -> Any:
            return values if isinstance(values, str) else (values[0], other) if number == 0 else (other, values[1])

        return {
            "kernel_size": alone(layer.kernel_size, 1),
            "stride": alone(layer.stride, 1),
            "dilation": alone(layer.dilation, 1),
            "padding": alone(layer.padding, 0),
            "padding_mode": layer.padding_mode,
        }

    down = nn.Conv2d(layer.in_channels, rank, bias=False, **axis(0))
    return down, nn.Conv2d(rank, layer.out_channels, **axis(1))


def _pair(down: Any, up: Any, first: torch.Tensor, second: torch.Tensor, bias: torch.Tensor | None) -> nn.Module:
    down.weight.data = first.float().reshape(down.weight.shape).contiguous()
    up.weight.data = second.float().reshape(up.weight.shape).contiguous()
    up.bias.data = torch.zeros_like(up.bias) if bias is None else bias.detach().clone()
    return nn.Sequential(down, up).eval().requires_grad_(False)
