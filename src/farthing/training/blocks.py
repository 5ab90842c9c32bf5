"""Where a model's blocks are, which block of a smaller copy stands for which of the original, and what they return."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from farthing.errors import BuildError

FEWEST_LIKE_BLOCKS = 3  # of one class: a list of two is as often a pair of layers inside a block
ATTENTION_LAYERS = (
    ("query", "key", "value"), ("q_proj", "k_proj", "v_proj"), ("q_lin", "k_lin", "v_lin"), ("to_q", "to_k", "to_v"),
    ("wq", "wk", "wv"), ("q", "k", "v"),
)  # fmt: skip


def like_blocks(module: nn.Module) -> str | None:
    """Path of the list of blocks of one class that holds the most weights; None where there is no such list."""
    lists = [(path, part) for path, part in module.named_modules() if isinstance(part, nn.ModuleList | nn.Sequential)]
    stacks = {path: part for path, part in lists if len(part) >= FEWEST_LIKE_BLOCKS and len(set(map(type, part))) == 1}
    return max(stacks, key=lambda path: num_weights(stacks[path]), default=None)


def num_weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def pairs(student: nn.Module, original: nn.Module) -> list[tuple[str, str]]:
    """(path in the student, path in the original) of what should return alike.

    Block m of M in the student stands for block m L / M of the original's L (TinyBERT, arXiv 1909.10351, its uniform map).
    Without a list of like blocks: the convolutions, or else the linear layers but the last, each by its own path.
    Raises BuildError where nothing can be paired.
    """
    stack = like_blocks(original)
    if stack is not None and (blocks := _children(student, stack)):
        num_blocks, length = len(blocks), len(_children(original, stack))
        return [(f"{stack}.{m}", f"{stack}.{round((m + 1) * length / num_blocks) - 1}") for m in range(num_blocks)]
    there = dict(student.named_modules())
    convolutions = [path for path, part in original.named_modules() if isinstance(part, nn.modules.conv._ConvNd)]
    linears = [path for path, part in original.named_modules() if isinstance(part, nn.Linear)]
    found = [(path, path) for path in convolutions or linears[:-1] if path in there]
    if not found:
        raise BuildError(
            f"{type(original).__name__} has neither a list of {FEWEST_LIKE_BLOCKS} like blocks nor two layers in a row whose "
            "hidden states could be matched. Set hidden = 0."
        )
    return found


def attention_layers(student: nn.Module, original: nn.Module, pair: tuple[str, str]) -> list[tuple[str, str]]:
    """Paths of the layers that make queries, keys and values in a pair of blocks. Raises BuildError if they are not found."""
    ours, theirs = pair
    there = dict(student.named_modules())
    inside = [path for path, _ in original.get_submodule(theirs).named_modules() if path]
    for names in ATTENTION_LAYERS:
        places = [next((p for p in inside if p.rpartition(".")[2] == name), None) for name in names]
        if all(place is not None and f"{ours}.{place}" in there for place in places):
            return [(f"{ours}.{place}", f"{theirs}.{place}") for place in places]
    raise BuildError(
        f"block {theirs} ({type(original.get_submodule(theirs)).__name__}) has no three layers that make queries, keys and "
        f"values (looked for {', '.join('/'.join(names) for names in ATTENTION_LAYERS)}). Set attention = 0."
    )


def is_convolutional(module: nn.Module) -> bool:
    return any(isinstance(part, nn.modules.conv._ConvNd) for part in module.modules())


@contextmanager
def captured(module: nn.Module, paths: Iterable[str]) -> Iterator[dict[str, torch.Tensor]]:
    """What these submodules return (of several values the first) while the block runs; of several calls the last."""
    seen: dict[str, torch.Tensor] = {}

    def watch(path: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            seen[path] = output[0] if isinstance(output, tuple | list) else output

        return hook

    handles = [module.get_submodule(path).register_forward_hook(watch(path)) for path in paths]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _children(module: nn.Module, path: str) -> list[nn.Module]:
    """Blocks of the list at `path`; none where there is no list."""
    try:
        found = module.get_submodule(path)
    except AttributeError:
        return []
    return list(found) if isinstance(found, nn.ModuleList | nn.Sequential) else []
