"""Modules of adaptation: one backbone under several heads, and a module of which chosen weights may move; imports torch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from farthing.forms.torch_form import first


class SharedBackbone(nn.Module):  # type: ignore[misc]
    """Features once, then each task's head on them: one answer for one head, a tuple for several, the first task's first.

    `input_names` tells what its forward takes, in order.
    """

    def __init__(self, backbone: nn.Module, heads: list[nn.Module], input_names: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.input_names = input_names
        self.backbone, self.heads = backbone, nn.ModuleList(heads)

    def forward(self, *inputs: Any) -> Any:
        features_BD = first(self.backbone(*inputs))
        answers = tuple(head(features_BD) for head in self.heads)
        return answers if len(answers) > 1 else answers[0]


class Offsets(nn.Module):  # type: ignore[misc]
    """weight = start + factor * offset: what a loop with one learning rate may move of `whole`, at a rate of its own each.

    Adam's step does not depend on the scale of a gradient, so a weight with factor f moves at f times the loop's rate. Weight
    decay draws the offsets to zero, that is, the weights back to where they started (L2-SP, Li et al., arXiv 1802.01483).
    Only the offsets are parameters of this module and stand in its state. Weights without a factor, and the statistics of
    batch norms, are as they were until `settle`, which writes the weights into `whole`.
    """

    def __init__(self, whole: nn.Module, factors: Mapping[str, float]) -> None:
        super().__init__()
        named = dict(whole.named_parameters())
        self._whole = (whole,)  # in a tuple it is no submodule: its weights are not this module's
        self._names, self._factors = tuple(factors), tuple(factors.values())
        self.offsets = nn.ParameterList(torch.zeros_like(named[name]) for name in factors)

    def forward(self, *inputs: Any) -> Any:
        return torch.func.functional_call(self._whole[0], self._weights(), inputs)

    def train(self, mode: bool = True) -> "Offsets":
        super().train(mode)
        for part in self._whole[0].train(mode).modules():
            if isinstance(part, _BatchNorm):
                part.eval()
        return self

    def settle(self) -> None:
        named = dict(self._whole[0].named_parameters())
        for name, weight in self._weights().items():
            named[name].data.copy_(weight.detach())

    def _weights(self) -> dict[str, torch.Tensor]:
        named = dict(self._whole[0].named_parameters())
        moved = zip(self._names, self._factors, self.offsets, strict=True)
        return {name: named[name].detach() + factor * offset for name, factor, offset in moved}
