"""A module that stops after its first blocks and answers through a linear head; imports torch, so members import it late."""

import copy
from typing import Any

import torch
from torch import nn

from farthing.errors import BuildError


class Pooled(Exception):
    """Carries the state at which the forward pass was left."""

    def __init__(self, state: torch.Tensor) -> None:
        super().__init__()
        self.state = state


class Stop(nn.Module):  # type: ignore[misc]
    """Stands where the first dropped block stood, or after the last kept one: whatever comes after it is never run."""

    def forward(self, state: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        raise Pooled(state[0] if isinstance(state, tuple | list) else state)


class EarlyExit(nn.Module):  # type: ignore[misc]
    """answer = head(pool(state after `num_blocks` of the blocks at `stack`)).

    Axes of a state: (batch, tokens, width) is pooled over the tokens that `mask` (the place of the attention mask among the
    inputs) lets count; (batch, channels, ...) of convolutions over all places; (batch, width) is taken as it is.
    """

    def __init__(self, module: nn.Module, stack: str, num_blocks: int, mask: int | None) -> None:
        super().__init__()
        self.module, self.mask = copy.deepcopy(module), mask
        blocks = list(self.module.get_submodule(stack).children())
        self.is_convolutional = any(isinstance(part, nn.modules.conv._ConvNd) for part in self.module.modules())
        kept = [*blocks[:num_blocks], Stop()]
        parent, _, name = stack.rpartition(".")
        old = self.module.get_submodule(stack)
        setattr(
            self.module.get_submodule(parent),
            name,
            nn.Sequential(*kept) if isinstance(old, nn.Sequential) else nn.ModuleList(kept),
        )
        self.head: nn.Module = nn.Identity()

    def set_head(self, weight_CD: torch.Tensor, bias_C: torch.Tensor) -> None:
        self.head = nn.Linear(weight_CD.shape[1], weight_CD.shape[0])
        self.head.weight.data, self.head.bias.data = weight_CD.contiguous(), bias_C.contiguous()
        self.head.eval().requires_grad_(False)

    def drop_unreached(self, *probe: torch.Tensor) -> None:
        """Take out the layers that come after the stop: their weights are never read."""
        reached: set[str] = set()
        leaves = {path: part for path, part in self.module.named_modules() if path and not list(part.children())}
        handles = [part.register_forward_hook(lambda *_, path=path: reached.add(path)) for path, part in leaves.items()]
        self(*probe)
        for handle in handles:
            handle.remove()
        for path, part in leaves.items():
            if path not in reached and not isinstance(part, Stop) and list(part.parameters()):
                parent, _, name = path.rpartition(".")
                setattr(self.module.get_submodule(parent), name, nn.Identity())

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        try:
            self.module(*inputs)
        except Pooled as left:
            return self.head(self._pool(left.state, inputs))
        raise BuildError(f"{type(self.module).__name__} never reached the block after which it should stop")

    def _pool(self, state: torch.Tensor, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        if state.ndim == 2:
            return state
        if self.is_convolutional:
            return state.flatten(2).mean(-1)
        if self.mask is None:
            return state.mean(1)
        counts_BL1 = inputs[self.mask].unsqueeze(-1).to(state.dtype)
        return (state * counts_BL1).sum(1) / counts_BL1.sum(1).clamp_min(1.0)
