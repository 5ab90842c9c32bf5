"""How much the answers of a torch module change when an input channel of one of its layers is zeroed: two ways to guess it.

Shape suffixes: N items, C channels of a layer, B items of a batch.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from farthing.forms import torch_form
from farthing.forms.torch_layers import Sample, watched

Scores = dict[str, torch.Tensor]  # path of a layer -> (N, C) of its input channels


def activations(module: nn.Module, paths: Collection[str], samples: Sequence[Sample]) -> Scores:
    """(1, C) mean of |x_c| over everything that a layer is called with."""
    sums: Scores = {}
    counts: dict[str, int] = {}

    def visit(path: str, x: torch.Tensor, _: Any) -> None:
        rows = _channels_last(module.get_submodule(path), x)
        sums[path] = sums.get(path, torch.zeros(())) + rows.abs().sum(0, dtype=torch.float64)
        counts[path] = counts.get(path, 0) + len(rows)

    with torch.no_grad(), watched(module, paths, visit):
        for sample in samples:
            module(*sample.arguments)
    return {path: (total / counts[path]).float()[None] for path, total in sums.items()}


def first_order(module: nn.Module, paths: Collection[str], samples: Sequence[Sample], seed: int) -> Scores:
    """(N, C) for each item, x_c dL/dx_c, the derivative taken through that layer alone.

    It equals the sum of w dL/dw over the weights w that read channel c: the first-order term of L without them (Molchanov et
    al., arXiv 1611.06440 and 1906.10771). L is the cross entropy where the samples have classes for labels. Elsewhere it would
    be the distance to the model's own answers z, whose gradient is zero; so L = <v, z> with random signs v, whose squared term
    is in expectation, to leading order, the squared distance ||z without c - z||^2. Contributions of layers that read the same
    channel are to be added before their size is taken.
    """
    draw = torch.Generator().manual_seed(seed)
    found: dict[str, list[torch.Tensor]] = {}
    for sample in samples:
        answer, seen = _traced(module, paths, sample.arguments)
        inputs = [(path, x) for path, made in seen.items() for x in made]
        with torch.enable_grad():
            loss = _loss(answer, sample.labels, draw)
        gradients = torch.autograd.grad(loss, [x for _, x in inputs], allow_unused=True)
        summed: Scores = {}
        for (path, x), gradient in zip(inputs, gradients, strict=True):
            if gradient is not None:
                part = _per_item(module.get_submodule(path), x.detach() * gradient, len(answer))
                summed[path] = summed[path] + part if path in summed else part
        for path, value in summed.items():
            found.setdefault(path, []).append(value)
    return {path: torch.cat(values) for path, values in found.items()}


def _loss(answer: torch.Tensor, labels: Any, draw: torch.Generator) -> torch.Tensor:
    """Summed over the items, so that each item's gradient is that of its own loss."""
    is_scored = answer.ndim == 2 and answer.shape[1] > 1
    if is_scored and labels is not None and labels.ndim == 1 and labels.dtype.kind in "biu":
        truth = torch.from_numpy(labels.astype(np.int64))
        if 0 <= int(truth.min()) <= int(truth.max()) < answer.shape[1]:
            return nn.functional.cross_entropy(answer, truth, reduction="sum")
    return (answer * (torch.randint(0, 2, answer.shape, generator=draw) * 2.0 - 1.0)).sum()


def _traced(
    module: nn.Module, paths: Collection[str], arguments: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, dict[str, list[torch.Tensor]]]:
    """The answer, and for each call of each layer an alias of its input that only this layer reads."""
    seen: dict[str, list[torch.Tensor]] = {}
    parts = dict(module.named_modules())

    def before(path: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            if not args or not args[0].is_floating_point():
                return None
            alias = args[0].view_as(args[0]) if args[0].requires_grad else args[0].detach().requires_grad_()
            seen.setdefault(path, []).append(alias)
            return (alias, *args[1:])

        return hook

    handles = [parts[path].register_forward_pre_hook(before(path)) for path in paths]
    try:
        with torch.enable_grad():
            return torch_form.first(module(*arguments)).float(), seen
    finally:
        for handle in handles:
            handle.remove()


def _per_item(layer: Any, product: torch.Tensor, num_items: int) -> torch.Tensor:
    """(B, C) summed over all places of an item; where axis 0 is not made of items, all of it stands with the first."""
    rows = _channels_last(layer, product)
    if product.shape[0] % num_items == 0:
        return rows.unflatten(0, (num_items, -1)).sum(1)
    total = torch.zeros(num_items, rows.shape[1])
    total[0] = rows.sum(0)
    return total


def _channels_last(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """(rows, C)"""
    return x.reshape(-1, x.shape[-1]) if isinstance(layer, nn.Linear) else x.movedim(1, -1).flatten(0, -2)
