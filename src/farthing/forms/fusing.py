"""Layers of a torch module that can be multiplied out, found in its torch.fx graph; the module's own code stays as it is."""

import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from farthing.errors import BuildError
from farthing.forms.torch_layers import replace, watched

_Convs = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)  # what does nothing once a model is trained


def fuse(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> int:
    """Multiply out what can be, in place; how many layers went.

    Raises BuildError where torch.fx cannot trace the module.
    """
    num_gone = 0
    while True:
        flat = _rank_two(module, arguments)
        first = next((fused for pair in _pairs(module) if (fused := _fused(module, *pair, flat)) is not None), None)
        if first is None:
            return num_gone
        (path, layer), gone = first
        replace(module, path, layer)
        replace(module, gone, nn.Identity())
        num_gone += 1


def _pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """(path, path) of two submodules where the second alone reads what the first writes, and each runs once in a pass."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = fx.Tracer().trace(module)
    except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError, AttributeError, KeyError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise BuildError(f"torch.fx cannot trace {type(module).__name__}, so what reads what is not known: {reason}") from error
    nodes: Any = [node for node in graph.nodes if node.op == "call_module"]
    num_calls = Counter(node.target for node in nodes)
    read_directly = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    for node in nodes:
        before: Any = node.args[0] if node.args else None
        while _passes(module, before):
            before = before.args[0]
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        paths = (str(before.target), str(node.target))
        if all(num_calls[path] == 1 and path not in read_directly for path in paths):
            yield paths


def _passes(module: nn.Module, node: Any) -> bool:
    """Whether this node does nothing to what it reads, and is read by one alone."""
    if not isinstance(node, fx.Node) or node.op != "call_module" or len(node.users) != 1:
        return False
    return isinstance(module.get_submodule(str(node.target)), _NOTHING)


def _fused(module: nn.Module, first: str, second: str, flat: set[str]) -> tuple[tuple[str, nn.Module], str] | None:
    """((where, the layer that does the work of both), which of them goes); None where they cannot be, or it saves nothing."""
    before, after = module.get_submodule(first), module.get_submodule(second)
    if isinstance(after, _BatchNorm) and after.running_mean is not None:
        if type(before) in _Convs:
            return (first, fuse_conv_bn_eval(before, after).requires_grad_(False)), second
        if type(before) is nn.Linear and type(after) is nn.BatchNorm1d and first in flat:
            return (first, fuse_linear_bn_eval(before, after).requires_grad_(False)), second
    if type(before) is nn.Linear and type(after) is nn.Linear:
        products = before.weight.numel() + after.weight.numel()
        if before.in_features * after.out_features < products:
            return (first, _product(before, after)), second
    return None


def _product(before: nn.Linear, after: nn.Linear) -> nn.Linear:
    """W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2)"""
    with torch.no_grad():
        weight = after.weight.double() @ before.weight.double()
        bias = torch.zeros(after.out_features, dtype=torch.float64)
        if before.bias is not None:
            bias += after.weight.double() @ before.bias.double()
        if after.bias is not None:
            bias += after.bias.double()
        made = nn.Linear(before.in_features, after.out_features)
        made.weight.data, made.bias.data = weight.to(before.weight.dtype), bias.to(before.weight.dtype)
    return made.eval().requires_grad_(False)


def _rank_two(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> set[str]:
    """Linear layers that write (items, features): only there do a BatchNorm's channels stand where the layer's outputs do."""
    found: set[str] = set()

    def visit(path: str, _: torch.Tensor, output: torch.Tensor) -> None:
        if output.ndim == 2:
            found.add(path)

    linears = [path for path, part in module.named_modules() if type(part) is nn.Linear]
    with torch.no_grad(), watched(module, linears, visit):
        module(*arguments)
    return found
