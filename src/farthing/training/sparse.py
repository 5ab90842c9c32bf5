"""Learning under a mask: the smallest weights are read as zeros, and become more of them as the steps go by."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

RISE = 0.6  # of all steps: from here on the share of zeros stays
TIMES = 100  # at most, that the thresholds are set anew while it rises


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which weights go: a share of the smallest, of each matrix or of all together; or those up to `threshold`; or, of
    every m neighbours along the inputs, all but the n largest, for `pattern` = (n, m).
    """

    sparsity: float = 0.0
    globally: bool = False
    threshold: float = 0.0
    pattern: tuple[int, int] | None = None


class Masked(nn.Module):  # type: ignore[misc]
    """Another module, whose weights of these names are read as w [|w| > threshold].

    The thresholds follow the share of zeros s_t = s (1 - (1 - t / T)^3) (Zhu & Gupta, arXiv 1710.01878, equation 1). What is
    zero gets no gradient. In eval mode the weights are read at the last share, so that held-out losses of all epochs are of
    one kind.
    """

    def __init__(self, module: nn.Module, names: Iterable[str], rule: Rule, *, num_steps: int = 0) -> None:
        super().__init__()
        self.module, self.names, self.rule = module, list(names), rule
        self.rise = max(1, round(RISE * num_steps))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("thresholds", torch.full((len(self.names),), rule.threshold))
        self._last = self.thresholds

    def forward(self, *inputs: torch.Tensor) -> Any:
        if self.training:
            self._raise()
        limits = self.thresholds if self.training else self._last
        weights = {name: self._read(self.module.get_parameter(name), t) for name, t in zip(self.names, limits, strict=True)}
        return torch.func.functional_call(self.module, weights, inputs)

    def train(self, mode: bool = True) -> "Masked":
        if not mode:
            self._last = self._thresholds(self.rule.sparsity)
        super().train(mode)
        return self

    def masks(self) -> dict[str, torch.Tensor]:
        """What is kept in the end, for each name."""
        limits = self._thresholds(self.rule.sparsity)
        found = {}
        for name, limit in zip(self.names, limits, strict=True):
            weight = self.module.get_parameter(name).detach()
            found[name] = self._mask(weight, limit)
        return found

    def _read(self, weight: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
        return weight * self._mask(weight.detach(), limit)

    def _mask(self, weight: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
        if self.rule.pattern is None:
            return weight.abs() > limit
        kept, size = self.rule.pattern
        groups = weight.abs().flatten(1).unflatten(1, (-1, size))
        ranks = groups.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        return (ranks < kept).reshape(weight.shape)

    def _raise(self) -> None:
        """One step; now and then the thresholds that go with it."""
        every = max(1, self.rise // TIMES)
        step = int(self.step)
        if self.rule.pattern is None and not self.rule.threshold and step <= self.rise and step % every == 0:
            left = 1.0 - min(1.0, step / self.rise)
            self.thresholds.copy_(self._thresholds(self.rule.sparsity * (1.0 - left**3)))
        self.step += 1

    def _thresholds(self, share: float) -> torch.Tensor:
        if self.rule.pattern is not None or self.rule.threshold:
            return self.thresholds.clone()
        sizes = [self.module.get_parameter(name).detach().abs().flatten() for name in self.names]
        if self.rule.globally:
            return _quantile(torch.cat(sizes), share).expand(len(sizes)).clone()
        return torch.stack([_quantile(size, share) for size in sizes])


def _quantile(sizes: torch.Tensor, share: float) -> torch.Tensor:
    """The size of the largest of the `share` smallest; -1 where that is none of them."""
    count = int(share * len(sizes))
    return sizes.kthvalue(count).values if count else sizes.new_tensor(-1.0)
