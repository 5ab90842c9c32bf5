"""LoRA through the library peft: low-rank updates of frozen weights, learned beside them and added to them at the end."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from farthing.errors import BuildError, MissingExtra

TREATED = (nn.Linear, nn.Conv2d)
SAME_ANSWER = 1e-3  # of the largest answer: what adding B A to W may change


class LowRankUpdates:
    """W + (alpha / rank) B A (Hu et al., arXiv 2106.09685) in every linear layer and 2-d convolution of `module` but its heads.

    The module is changed in place; `merged` gives it back without the updates, whose product its weights then hold.
    """

    def __init__(self, module: nn.Module, heads: Sequence[str], rank: int, alpha: int) -> None:
        try:
            from peft import LoraConfig, LoraModel
        except ImportError as error:
            raise MissingExtra("peft", "adapt") from error
        targets = [
            path
            for path, part in module.named_modules()
            if path and type(part) in TREATED and path not in heads and getattr(part, "groups", 1) == 1
        ]
        if not targets:
            raise BuildError(
                f"adapt: {type(module).__name__} has no linear layer or convolution besides its head, and LoRA treats no other;"
                " choose how = unfreeze or full"
            )
        pattern = "|".join(re.escape(path) for path in targets)
        # peft reads target_modules as a pattern of the whole path; a list would match the ends of paths too
        self._tuner: Any = LoraModel(module, LoraConfig(r=rank, lora_alpha=alpha, target_modules=pattern), "default")
        self.names = tuple(name for name, _ in module.named_parameters() if ".lora_" in name)

    def merged(self, example: tuple[torch.Tensor, ...]) -> nn.Module:
        """An ordinary module. Raises BuildError where it does not answer as it did with the updates beside the weights."""
        from farthing.forms.torch_form import first

        with torch.no_grad():
            beside = first(self._tuner.model.eval()(*example))
            module: nn.Module = self._tuner.merge_and_unload()
            within = first(module.eval()(*example))
        difference = float((beside - within).abs().max() / beside.abs().max().clamp_min(1e-12))
        if not difference <= SAME_ANSWER:
            raise BuildError(
                f"adapt: with LoRA's updates added to the weights, {type(module).__name__} answers otherwise"
                f" ({difference:.1g} of the largest answer): it reads weights past its layers. Choose how = unfreeze or full"
            )
        return module
