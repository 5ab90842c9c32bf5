"""Layers of a torch module that multiply by weights: what they are called with, as the rows of a matrix product.

Shape suffixes: G groups of a convolution (1 elsewhere), N rows, I what one output reads, O outputs of a group.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from farthing import pipeline as pipelines
from farthing.errors import BuildError, DataError
from farthing.forms import torch_form
from farthing.types import Array, Context, Feeds, Pipeline

BATCH = 16
MOST_ITEMS = 256  # of the calibrate split
MOST_ROWS = 4096  # of one batch: the positions of an image or a text say much the same

Visit = Callable[[str, torch.Tensor, Any], Any]  # path of a module, its first argument, what it returned


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """A batch of the calibrate split: the arguments of forward, and the labels of its items where they have any."""

    arguments: tuple[torch.Tensor, ...]
    labels: Array | None = None


def samples(source: Pipeline, context: Context, feeds: Sequence[Feeds]) -> list[Sample]:
    """The first MOST_ITEMS items of the calibrate split, items of like length together; `feeds` where it is not given.

    Raises DataError for an item with NaN or infinity.
    """
    if not len(context.calibrate):
        return [Sample(arguments=torch_form.tensors(one, source.inputs)) for one in feeds]
    encoded = pipelines.encode(source, context.calibrate.requests[:MOST_ITEMS])
    for number, values in enumerate(encoded):
        if not all(np.isfinite(value).all() for value in values):
            raise DataError(f"item {number} of the calibrate split holds NaN or infinity. Remove such items.")
    labels = None if context.calibrate.pair else context.calibrate.labels
    order = np.argsort([pipelines.length(one, source) for one in encoded], kind="stable")
    parts = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    return [
        Sample(
            arguments=torch_form.tensors(pipelines.collate(source, [encoded[i] for i in part]), source.inputs),
            labels=None if labels is None else np.asarray(labels)[part],
        )
        for part in parts
    ]


def weighted(module: nn.Module) -> dict[str, Any]:
    """Path -> Linear, Conv1d or Conv2d, in the order in which the module lists them. A subclass may compute something else."""
    return {path: part for path, part in module.named_modules() if type(part) in (nn.Linear, nn.Conv1d, nn.Conv2d)}


@contextmanager
def watched(module: nn.Module, paths: Collection[str], visit: Visit) -> Iterator[None]:
    """Each call of these submodules is told to `visit`; what it returns, unless None, stands for the output."""

    def hook(path: str) -> Any:
        return lambda _, args, kwargs, output: visit(path, next(iter((*args, *kwargs.values()))), output)

    parts = dict(module.named_modules())
    handles = [parts[path].register_forward_hook(hook(path), with_kwargs=True) for path in paths]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def calls(module: nn.Module, paths: Collection[str], arguments: tuple[torch.Tensor, ...]) -> list[str]:
    """The path of each call of these submodules, in the order of a forward pass."""
    seen: list[str] = []
    with torch.no_grad(), watched(module, paths, lambda path, *_: seen.append(path)):
        module(*arguments)
    return seen


def replace(module: nn.Module, path: str, new: nn.Module) -> None:
    """Put `new` at `path`, in this module only: callers change a copy of their own."""
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, new)


def input_rows(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """(G, N, I) the rows that `layer` multiplies by its weight: vectors of a Linear, patches of a convolution."""
    if isinstance(layer, nn.Linear):
        return x.reshape(1, -1, x.shape[-1])
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = nn.functional.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    patches: Any = (layer.kernel_size, layer.dilation, 0, layer.stride)
    if isinstance(layer, nn.Conv1d):
        x, patches = x.unsqueeze(2), ((1, *patches[0]), (1, *patches[1]), 0, (1, *patches[3]))
    x_BPL = nn.functional.unfold(x, *patches)
    return x_BPL.unflatten(1, (layer.groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)


def output_rows(layer: Any, y: torch.Tensor) -> torch.Tensor:
    """(G, N, O) what `layer` made of its input rows."""
    if isinstance(layer, nn.Linear):
        return y.reshape(1, -1, y.shape[-1])
    return y.movedim(1, -1).reshape(-1, layer.groups, layer.out_channels // layer.groups).transpose(0, 1)


def matrix(layer: Any) -> torch.Tensor:
    """(G, O, I) the weight, so that output_rows = input_rows @ matrix^T + bias."""
    groups = getattr(layer, "groups", 1)
    return layer.weight.detach().reshape(groups, layer.weight.shape[0] // groups, -1)  # type: ignore[no-any-return]


def thinned(rows: torch.Tensor) -> torch.Tensor:
    """At most MOST_ROWS of the N rows, evenly spread: the same ones for the same N."""
    num_rows = rows.shape[1]
    if num_rows <= MOST_ROWS:
        return rows
    return rows[:, torch.linspace(0, num_rows - 1, MOST_ROWS).long()]


def check_runs(method: str, module: nn.Module, arguments: tuple[torch.Tensor, ...], expected: Any, without: str) -> None:
    """Raises BuildError, naming the method, where the changed module does not run or answers in another shape."""
    try:
        with torch.no_grad():
            got = torch_form.first(module(*arguments)).shape
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise BuildError(f"{method}: {type(module).__name__} does not run without {without}: {error}") from error
    if got != expected:
        raise BuildError(f"{method}: without {without}, {type(module).__name__} answers {tuple(got)}, not {tuple(expected)}")
