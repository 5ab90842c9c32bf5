"""Modules that run another one in bfloat16, float32 outside; imports torch, so members import it late."""

from typing import Any

import torch


class Autocast(torch.nn.Module):  # type: ignore[misc]
    """Matrix products and convolutions in bfloat16, weights cast on the way; what is sensitive to rounding in float32."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.autocast(inputs[0].device.type, dtype=torch.bfloat16):
            return _float32(self.module(*inputs))


class Bfloat16(torch.nn.Module):  # type: ignore[misc]
    """Weights stored in bfloat16, and everything computed in it."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module.to(torch.bfloat16)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _float32(self.module(*(x.to(torch.bfloat16) if x.is_floating_point() else x for x in inputs)))


def _float32(outputs: Any) -> tuple[torch.Tensor, ...]:
    values = outputs if isinstance(outputs, tuple | list) else (outputs,)
    return tuple(value.float() if value.is_floating_point() else value for value in values)
