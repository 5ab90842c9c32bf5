"""Method: whole blocks of a stack of like blocks are taken out, those first whose absence changes the answers least."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Family, Method, calibration, too_little_to_learn
from farthing.results import Profile
from farthing.types import Context, Pipeline

if TYPE_CHECKING:
    import torch

FEWEST_BLOCKS = 3  # of a stack that is worth cutting

_NUMBERED = re.compile(r"(?P<stack>.+?)\.(?P<number>\d+)\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDrop(Method):
    """y = f_L(... f_2(f_1(x))) with only `keep` of the L blocks f left, in their order.

    Greedy: at each turn the block goes whose absence changes the first output least on the calibration batches,
    ||y' - y|| / ||y||, measured on the model that is left (as for large language models: ShortGPT, arXiv 2403.03853, which
    ranks once by the change of the hidden state). Residual blocks survive this; what is lost, a repair learns back.
    keep: a share of the blocks of the longest stack of blocks of one class; at least one stays.
    """

    keep: float = 0.5

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"cut"})
    family: ClassVar[Family] = "structure"
    stands_alone: ClassVar[bool] = False

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        if not 0.0 < self.keep < 1.0:
            raise BuildError(f"layer_drop keeps a share of the blocks between 0 and 1, not {self.keep:g}")
        from farthing.forms import torch_form

        module = torch_form.load(source)
        path, stack = _longest_stack(module)
        num_kept = max(1, round(self.keep * len(stack)))
        if num_kept == len(stack):
            raise BuildError(f"layer_drop: {self.keep:g} of the {len(stack)} blocks of {path} is all of them: lower keep")
        batches = [torch_form.tensors(feeds, source.inputs) for feeds in calibration(context)]
        kept = _kept(module, path, num_kept, batches)
        _replace(module, path, [stack[i] for i in kept])
        return torch_form.derive(module, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        if reason := too_little_to_learn(profile):
            return reason
        num_blocks, share = _stack_of(profile)
        if num_blocks < FEWEST_BLOCKS or share < 0.3:
            return f"no stack of {FEWEST_BLOCKS} or more like blocks takes a third of the time"
        keeps = sorted({max(1, round(k * num_blocks)) / num_blocks for k in (0.67, 0.5, 0.34)}, reverse=True)
        return tuple(cls(keep=round(k, 3)) for k in keeps)

    def predicted_speedup(self, profile: Profile) -> float:
        num_blocks, share = _stack_of(profile)
        share *= profile.model_s / (profile.model_s + profile.host_s)
        left = max(1, round(self.keep * num_blocks)) / max(1, num_blocks)
        return 1.0 / (1.0 - share * (1.0 - left))


def _stack_of(profile: Profile) -> tuple[int, float]:
    """(number of blocks, about what share of the operators' time) of the stack that holds most of the layers with weights.

    A profile adds up operators by shape, whatever layer they come from; where layers stand is told by the sensitivities.
    """
    numbers: dict[str, set[str]] = {}
    num_layers: dict[str, int] = {}
    for path, _ in profile.sensitivities:
        if match := _NUMBERED.match(f"{path}."):
            numbers.setdefault(match["stack"], set()).add(match["number"])
            num_layers[match["stack"]] = num_layers.get(match["stack"], 0) + 1
    if not num_layers:
        return 0, 0.0
    stack = max(num_layers, key=lambda name: num_layers[name])
    return len(numbers[stack]), num_layers[stack] / len(profile.sensitivities)


def _longest_stack(module: "torch.nn.Module") -> tuple[str, list["torch.nn.Module"]]:
    """(path, blocks) of the longest list of blocks of one class. Raises BuildError if there is none."""
    from torch import nn

    lists = [(path, list(child)) for path, child in module.named_modules() if isinstance(child, nn.ModuleList | nn.Sequential)]
    stacks = [(path, blocks) for path, blocks in lists if len(blocks) >= FEWEST_BLOCKS and len(set(map(type, blocks))) == 1]
    if not stacks:
        raise BuildError(f"layer_drop: {type(module).__name__} has no list of {FEWEST_BLOCKS} or more blocks of one class")
    return max(stacks, key=lambda stack: sum(p.numel() for block in stack[1] for p in block.parameters()))


def _kept(module: "torch.nn.Module", path: str, num_kept: int, batches: Sequence[tuple[Any, ...]]) -> list[int]:
    import torch

    from farthing.forms import torch_form

    with torch.no_grad():
        expected = [torch_form.first(module(*batch)) for batch in batches]
        blocks = list(module.get_submodule(path).children())
        kept = list(range(len(blocks)))
        while len(kept) > num_kept:
            errors = {}
            for candidate in kept:
                _replace(module, path, [blocks[i] for i in kept if i != candidate])
                errors[candidate] = _error(module, path, batches, expected)
            kept.remove(min(kept, key=lambda i: errors[i]))
    return kept


def _error(module: "torch.nn.Module", path: str, batches: Sequence[tuple[Any, ...]], expected: Sequence[Any]) -> float:
    from farthing.forms import torch_form

    try:
        answers = [torch_form.first(module(*batch)) for batch in batches]
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        raise BuildError(f"layer_drop: without one of its blocks {path} does not run: {error}") from error
    return float(sum(((a - e) ** 2).sum() for a, e in zip(answers, expected, strict=True)))


def _replace(module: "torch.nn.Module", path: str, blocks: "list[torch.nn.Module]") -> None:
    """The stack at `path` with these blocks only. What counts its layers in a config is told the new number."""
    from torch import nn

    parent, _, name = path.rpartition(".")
    old = module.get_submodule(path)
    new = nn.Sequential(*blocks) if isinstance(old, nn.Sequential) else nn.ModuleList(blocks)
    setattr(module.get_submodule(parent), name, new.train(old.training))
    for config in _configs(module):
        if getattr(config, "num_hidden_layers", None) == len(old):
            config.num_hidden_layers = len(blocks)


def _configs(module: "torch.nn.Module") -> "Iterator[Any]":
    seen = {id(c): c for part in module.modules() if (c := getattr(part, "config", None)) is not None}
    return iter(seen.values())
