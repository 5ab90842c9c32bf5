"""Heads that turn a transformer's outputs into one answer per text, inside the module, so that every runtime pays for them."""

from typing import Any

import torch
from torch import nn


class Embedder(nn.Module):  # type: ignore[misc]
    """One vector per text: the encoder's hidden states pooled over its tokens, optionally of length one.

    B batch, L length, D width of the encoder.
    """

    def __init__(self, encoder: nn.Module, pooling: str, normalize: bool) -> None:
        super().__init__()
        self.encoder, self.pooling, self.normalize = encoder, pooling, normalize

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden_BLD = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types).last_hidden_state
        pooled_BD = POOLINGS[self.pooling](hidden_BLD, attention_mask.unsqueeze(-1).to(hidden_BLD.dtype))
        return nn.functional.normalize(pooled_BD, dim=-1) if self.normalize else pooled_BD


class Head(nn.Module):  # type: ignore[misc]
    """The one output of a transformers model that is its answer (`logits`, `last_hidden_state`, ...)."""

    def __init__(self, model: nn.Module, output: str) -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return getattr(self.model(input_ids=input_ids, attention_mask=attention_mask, **types), self.output)


def _mean(hidden_BLD: Any, mask_BL1: Any) -> Any:
    return (hidden_BLD * mask_BL1).sum(1) / mask_BL1.sum(1).clamp(min=1e-9)


def _cls(hidden_BLD: Any, _: Any) -> Any:
    return hidden_BLD[:, 0]


def _max(hidden_BLD: Any, mask_BL1: Any) -> Any:
    return hidden_BLD.masked_fill(mask_BL1 == 0, torch.finfo(hidden_BLD.dtype).min).max(1).values


POOLINGS = {"mean": _mean, "cls": _cls, "max": _max}
