"""Layers of a cut torch module solved anew, so that they answer what the original's layers do.

Shape suffixes: N rows, I what one output reads, O outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from farthing.forms.torch_layers import Sample, input_rows, matrix, output_rows, thinned, watched, weighted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """The layer of the original whose outputs `kept` a layer of the cut module is to give."""

    path: str
    kept: torch.Tensor


def targets(module: nn.Module, original: nn.Module) -> dict[str, Target]:
    """Path of each layer that reads less than in the original, or is the second of two that one was split into."""
    found = {}
    wholes, layers = weighted(original), weighted(module)
    for path, whole in wholes.items():
        if path not in layers:
            second = f"{path}.1"
            if second in layers and getattr(layers[second], "groups", 1) == 1:
                found[second] = Target(path=path, kept=torch.arange(_num_outputs(whole)))
            continue
        if type(layers[path]) is type(whole) and _reads_less(layers[path], whole):
            kept = _kept(layers[path], whole)
            if kept is not None:
                found[path] = Target(path=path, kept=kept)
    return found


def solve(
    module: nn.Module, path: str, original: nn.Module, target: Target, samples: Sequence[Sample], *, ridge: float
) -> None:
    """Change the layer at `path` in place: its weight, and its bias where it has one."""
    layer = module.get_submodule(path)
    sums: list[torch.Tensor] = []
    for sample in samples:
        with torch.no_grad():
            x_NI = _rows(module, path, sample, lambda one, x, _: input_rows(one, x))
            y_NO = _rows(original, target.path, sample, lambda one, _, y: output_rows(one, y))[:, target.kept]
        rest_NO = y_NO - x_NI @ matrix(layer)[0].double().T
        if layer.bias is not None:
            rest_NO -= layer.bias.double()
            x_NI = torch.cat([x_NI, torch.ones(len(x_NI), 1, dtype=x_NI.dtype)], 1)  # the bias is a weight of a constant
        parts = [x_NI.T @ x_NI, x_NI.T @ rest_NO]
        sums = [total + part for total, part in zip(sums, parts, strict=True)] if sums else parts
    moment_II, mixed_IO = sums
    num_inputs = matrix(layer).shape[2]
    penalty_I = torch.full((len(moment_II),), ridge * float(moment_II.diagonal()[:num_inputs].mean().clamp_min(1e-12)))
    penalty_I[num_inputs:] = 1e-9 * float(moment_II[-1, -1])  # a constant shift costs nothing, but is solved for
    change_IO = torch.linalg.solve(moment_II + torch.diag(penalty_I.double()), mixed_IO).float()
    layer.weight.data = layer.weight.data + change_IO[:num_inputs].T.reshape(layer.weight.shape)
    if layer.bias is not None:
        layer.bias.data = layer.bias.data + change_IO[-1]


def _rows(module: nn.Module, path: str, sample: Sample, rows_of: Any) -> torch.Tensor:
    """(N, values) of all calls of the layer in one pass."""
    layer, found = module.get_submodule(path), list[torch.Tensor]()
    with watched(module, [path], lambda _, x, y: found.append(thinned(rows_of(layer, x, y))[0].double())):
        module(*sample.arguments)
    return torch.cat(found)


def _num_outputs(layer: Any) -> int:
    return int(layer.weight.shape[0])


def _reads_less(layer: Any, whole: Any) -> bool:
    return getattr(whole, "groups", 1) == 1 and bool(layer.weight.shape[1] < whole.weight.shape[1])


def _kept(layer: Any, whole: Any) -> torch.Tensor | None:
    """Which outputs of `whole` those of `layer` are: its weights are found again there; None where they have changed."""
    if _num_outputs(layer) == _num_outputs(whole):
        return torch.arange(_num_outputs(whole))
    flat, places = whole.weight.detach().flatten().sort()
    sought = layer.weight.detach().flatten(1)
    at = torch.searchsorted(flat, sought.contiguous()).clamp_max(len(flat) - 1)
    rows = torch.where(flat[at] == sought, places[at] // whole.weight[0].numel(), -1)
    kept = rows.mode(1).values
    found = (rows == kept[:, None]).float().mean(1)
    return kept if bool((kept >= 0).all() and (found > 0.5).all() and len(kept.unique()) == len(kept)) else None
