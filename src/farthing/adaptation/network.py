"""A module seen as a backbone and heads: where its own head is, and how it gets new ones; imports torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from farthing.adaptation.modules import SharedBackbone
from farthing.adaptation.tasks import Task
from farthing.errors import BuildError
from farthing.forms.torch_form import first

Arguments = tuple[torch.Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Network:
    """`module` answers with one output a task; `heads` are the paths of the linear layers that give them (none: unknown)."""

    module: nn.Module
    heads: tuple[str, ...]
    fresh: bool  # some head is new: its weights say nothing yet
    order: tuple[str, ...]  # paths of the parts that hold weights, as they are called, the first layer first

    def outputs(self, *arguments: Any) -> tuple[torch.Tensor, ...]:
        return as_tuple(self.module(*arguments), len(self.heads))


def as_tuple(answer: Any, num_tasks: int) -> tuple[torch.Tensor, ...]:
    """(b, width) of each task, in float32."""
    several = answer if num_tasks > 1 else (first(answer),)
    return tuple(one.float() for one in several)


def network(module: nn.Module, tasks: Sequence[Task], example: Arguments, input_names: tuple[str, ...] = ()) -> Network:
    """`module`, changed in place or wrapped, with a head for each task. Raises BuildError where it cannot have one."""
    answer, head = _head_of(module, example)
    keeps = tasks[0].num_outputs is None
    if len(tasks) == 1 and keeps:
        return Network(module=module, heads=(head,) if head else (), fresh=False, order=_order(module, example))
    if head is None and keeps:
        raise BuildError(
            f"adapt: no linear layer of {type(module).__name__} gives its answer, so it has no head to keep beside others;"
            " give the first task num_outputs too"
        )
    if head is None and (answer.ndim != 2 or not answer.is_floating_point()):
        raise BuildError(
            f"adapt: {type(module).__name__} answers with {answer.dtype} of shape {tuple(answer.shape)}; a head needs a vector"
            " an item, or a linear layer whose output is the answer"
        )
    old = module.get_submodule(head) if head else None
    width = old.in_features if isinstance(old, nn.Linear) else answer.shape[1]
    new = [old if task.num_outputs is None else nn.Linear(width, task.num_outputs) for task in tasks]
    assert all(one is not None for one in new), "a head to keep was found above"
    if len(tasks) == 1 and head is not None:
        _put(module, head, new[0])
        return Network(module=module, heads=(head,), fresh=True, order=_order(module, example))
    if head is not None:
        _put(module, head, nn.Identity())
    whole = SharedBackbone(module, [one for one in new if one is not None], input_names).eval()
    heads = tuple(f"heads.{number}" for number in range(len(tasks)))
    return Network(module=whole, heads=heads, fresh=True, order=_order(whole, example))


def _put(module: nn.Module, path: str, part: Any) -> None:
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, part)


def _head_of(module: nn.Module, example: Arguments) -> tuple[torch.Tensor, str | None]:
    """The answer to `example`, and the path of the linear layer whose output it is, untouched."""
    outputs: dict[str, Any] = {}

    def watch(path: str) -> Any:
        return lambda _, __, output: outputs.update({path: output})

    linears = [(path, part) for path, part in module.named_modules() if isinstance(part, nn.Linear) and path]
    handles = [part.register_forward_hook(watch(path)) for path, part in linears]
    with torch.no_grad():
        answer = first(module(*example))
    for handle in handles:
        handle.remove()
    found = [path for path, output in outputs.items() if output is answer and answer.ndim == 2]
    return answer, found[-1] if found else None


def _order(module: nn.Module, example: Arguments) -> tuple[str, ...]:
    """Parts that are never called by themselves stand first: they get the lowest rate."""
    called: list[str] = []

    def watch(path: str) -> Any:
        return lambda *_: called.append(path)

    parts = {path: part for path, part in module.named_modules() if part._parameters}
    handles = [part.register_forward_pre_hook(watch(path)) for path, part in parts.items()]
    with torch.no_grad():
        module(*example)
    for handle in handles:
        handle.remove()
    return (*(path for path in parts if path not in called), *dict.fromkeys(called))
