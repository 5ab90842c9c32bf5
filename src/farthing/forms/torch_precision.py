"""Modules that run another one in 16 bits, float32 outside; imports torch, so members import it late."""

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

    dtype = torch.bfloat16

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module.to(self.dtype)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _float32(self.module(*(x.to(self.dtype) if x.is_floating_point() else x for x in inputs)))


class Float16(Bfloat16):
    """The same in float16: three more bits of fraction, and nothing beyond 65504."""

    dtype = torch.float16


def _float32(outputs: Any) -> tuple[torch.Tensor, ...]:
    values = outputs if isinstance(outputs, tuple | list) else (outputs,)
    return tuple(value.float() if value.is_floating_point() else value for value in values)
