"""Attention of a torch module whose queries, keys and values are layers of their own: where its heads are, and cutting them.

Shape suffixes: H heads, d width of a head, N items, C = H d.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from farthing.errors import BuildError
from farthing.forms import torch_layers

_PROJECTIONS = (("query", "key", "value"), ("q_proj", "k_proj", "v_proj"), ("q_lin", "k_lin", "v_lin"), ("q", "k", "v"))
_COUNTS = ("num_attention_heads", "num_heads", "n_heads", "n_head")  # as modules call their number of heads
_WIDTHS = ("all_head_size", "inner_dim")  # and H d


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    path: str
    projections: tuple[str, str, str]  # paths of the layers that make queries, keys and values
    out: str = ""  # path of the layer that reads what the heads saw
    num_heads: int = 0
    width: int  # H d


def attentions(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> list[Attention]:
    """Every attention block that the forward pass runs. Raises BuildError for none, and naming one that is not understood."""
    found = {a.projections[0]: a for path, part in module.named_modules() if (a := _attention(path, part)) is not None}
    joined = [path for path, part in module.named_modules() if isinstance(part, nn.MultiheadAttention)]
    if joined:
        raise BuildError(f"the queries, keys and values of {joined[0]} (MultiheadAttention) are one layer")
    linears = [path for path, part in module.named_modules() if isinstance(part, nn.Linear)]
    with _SeenHeads() as seen, torch.no_grad(), torch_layers.watched(module, linears, seen.called):
        module(*arguments)
    run = [_completed(module, a, seen) for a in found.values() if a.projections[0] in seen.calls]
    if not run:
        raise BuildError(f"{type(module).__name__} runs no attention with layers for queries, keys and values")
    return run


def by_norm(module: nn.Module, attention: Attention, power: int) -> torch.Tensor:
    """(H,) mean over its four slices of the sum of |w|^power."""
    rows = [module.get_submodule(path).weight for path in attention.projections]
    slices = [*rows, module.get_submodule(attention.out).weight.T]
    return sum((w.detach().abs() ** power).reshape(attention.num_heads, -1).sum(1) for w in slices) / len(slices)  # type: ignore[return-value, union-attr, operator]


def by_scores(scores_NC: torch.Tensor, attention: Attention) -> torch.Tensor:
    """(H,) mean over the items of |sum over a head's channels|, of what `attention.out` reads."""
    return scores_NC.unflatten(1, (attention.num_heads, -1)).sum(2).abs().mean(0)


def least(worth: Mapping[str, torch.Tensor], num_heads: int) -> dict[str, list[int]]:
    """`num_heads` heads of all blocks, the least worth first, as block -> heads; one of each block stays.

    Each block's heads are compared with each other first: their worth is divided by its L2 norm (Michel et al.).
    """
    ranked = sorted(
        (float(value), path, head)
        for path, values in worth.items()
        for head, value in enumerate(values / values.norm().clamp_min(1e-12))
    )
    gone: dict[str, list[int]] = {}
    for _, path, head in ranked:
        if sum(map(len, gone.values())) < num_heads and len(gone.get(path, ())) < len(worth[path]) - 1:
            gone.setdefault(path, []).append(head)
    return gone


def silence(module: nn.Module, attention: Attention, heads: Collection[int]) -> None:
    """Nothing reads what these heads saw any more: the answers are then those of the module without them."""
    out = module.get_submodule(attention.out)
    out.weight.data = out.weight.data.clone()  # it may be shared
    out.weight.data.unflatten(1, (attention.num_heads, -1))[:, list(heads)] = 0.0


def cut(module: nn.Module, attention: Attention, heads: Collection[int]) -> None:
    """Take these heads out of the shapes of the four layers, and out of the numbers that the block keeps of them."""
    kept = [head for head in range(attention.num_heads) if head not in heads]
    rows = torch.arange(attention.width).unflatten(0, (attention.num_heads, -1))[kept].flatten()
    for path in attention.projections:
        torch_layers.replace(module, path, _linear(module.get_submodule(path), rows=rows))
    torch_layers.replace(module, attention.out, _linear(module.get_submodule(attention.out), columns=rows))
    block = module.get_submodule(attention.path)
    numbers = dict.fromkeys(_COUNTS, (attention.num_heads, len(kept))) | dict.fromkeys(_WIDTHS, (attention.width, len(rows)))
    for name, (before, after) in numbers.items():
        if getattr(block, name, None) == before:
            setattr(block, name, after)


class _SeenHeads(TorchFunctionMode):  # type: ignore[misc]
    """The order in which linear layers are called, and how many heads each call of attention among them has."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.heads: dict[int, tuple[int, int]] = {}  # number of calls before it -> (H, d)

    def called(self, path: str, *_: Any) -> None:
        self.calls.append(path)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.scaled_dot_product_attention:
            query = args[0] if args else kwargs["query"]
            self.heads[len(self.calls)] = (query.shape[1], query.shape[3])
        return func(*args, **(kwargs or {}))


def _attention(path: str, part: nn.Module) -> Attention | None:
    for names in _PROJECTIONS:
        layers = [getattr(part, name, None) for name in names]
        if all(isinstance(layer, nn.Linear) for layer in layers):
            first, second, third = (f"{path}.{name}".removeprefix(".") for name in names)
            return Attention(path=path, projections=(first, second, third), width=layers[0].out_features)  # type: ignore[union-attr]
    return None


def _completed(module: nn.Module, attention: Attention, seen: _SeenHeads) -> Attention:
    """With the layer that reads what the heads saw: the first of its width that is called after the three."""
    widths = {module.get_submodule(path).out_features for path in attention.projections}
    if widths != {attention.width}:
        raise BuildError(f"{attention.path} has fewer heads for keys and values than for queries")
    if any(seen.calls.count(path) != 1 for path in attention.projections):
        raise BuildError(f"{attention.path} runs its queries, keys or values more than once in a pass")
    after = max(seen.calls.index(path) for path in attention.projections) + 1
    readers = [path for path in seen.calls[after:] if module.get_submodule(path).in_features == attention.width]
    if not readers:
        raise BuildError(f"no linear layer reads what the heads of {attention.path} saw")
    num_heads, width = seen.heads.get(after, (_counted(module.get_submodule(attention.path)), 0))
    if num_heads < 1 or attention.width % num_heads or width not in (0, attention.width // num_heads):
        raise BuildError(f"how many heads {attention.path} has is told neither by its attributes nor by its attention")
    return replace(attention, out=readers[0], num_heads=num_heads)


def _counted(block: nn.Module) -> int:
    return next((int(getattr(block, name)) for name in _COUNTS if isinstance(getattr(block, name, None), int)), 0)


def _linear(old: Any, *, rows: torch.Tensor | None = None, columns: torch.Tensor | None = None) -> nn.Linear:
    """A copy of `old` with only these rows and columns of its weight."""
    weight, bias = old.weight.detach(), None if old.bias is None else old.bias.detach()
    if rows is not None:
        weight, bias = weight[rows], None if bias is None else bias[rows]
    if columns is not None:
        weight = weight[:, columns]
    new = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    new.weight.data = weight.clone().contiguous()
    if bias is not None:
        new.bias.data = bias.clone()
    return new.train(old.training).requires_grad_(False)
