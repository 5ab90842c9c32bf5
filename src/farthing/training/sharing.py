"""Learning the few values that weights share: their levels alone, or weights and levels under a price on bits.

Shape suffixes: K levels, O first axis, I the others.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

REFRESH = 50  # steps between two looks at what each place costs
RAMP = 0.5  # of all steps, over which the price of a bit rises
SETTLE = 0.75  # of all steps, after which zeros stay zeros and the price is no longer paid
HALF = 0.5  # added to every count: Krichevsky & Trofimov's estimate of a share
MOST_COMPARED = 40  # levels, up to which comparing with each of them is faster than searching
BLOCK = 1 << 16  # values that fit a cache
LEAST_SHARE, MOST_SHARE = 1e-4, 0.95


class Shared(nn.Module):  # type: ignore[misc]
    """Another module, whose parameters of these names are read as the nearest of their levels; level 0.0 never moves.

    Gradients pass straight through to the levels of the members, d loss / d level_k = sum over w in k of d loss / d w
    (Han et al., arXiv 1510.00149, equation 3). With `price` > 0 the weights learn too (straight through), drawn to zero by the
    gradient of price * sum_ij b_ij log2(1 + |w_ij| / level), where b_ij is what a coder pays for a value that is not zero at
    (i, j) more than for a zero there: log2((1 - p_ij) / p_ij) + H(values), p_ij = n_i n_j / n from the counts of row i and
    column j. It is reweighted L1 (Candes et al., arXiv 0711.1612) with the coder's own weights: rows and columns that are
    nearly empty become empty. After SETTLE of the steps what is zero stays so, and the others learn without a price.
    """

    def __init__(self, module: nn.Module, levels: Mapping[str, torch.Tensor], *, price: float, num_steps: int) -> None:
        super().__init__()
        self.module, self.price, self.num_steps = module, price, max(1, num_steps)
        self.settles_at = round(SETTLE * num_steps)
        self.names = list(levels)
        self.levels = nn.ParameterList(nn.Parameter(level.clone().float()) for level in levels.values())
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        for number, name in enumerate(self.names):
            weight = module.get_parameter(name)
            codes = nearest(weight.detach(), levels[name])
            if price:
                self.register_buffer(f"costs_{number}", torch.zeros_like(weight))
                self.register_buffer(f"settled_{number}", torch.zeros_like(weight, dtype=torch.bool))
            else:
                self.register_buffer(f"codes_{number}", codes)
            self.levels[number].register_hook(_but(int((levels[name] == 0).nonzero()[0]) if (levels[name] == 0).any() else -1))

    def forward(self, *inputs: torch.Tensor) -> Any:
        if self.training:
            if self.price:
                self._look(int(self.step))
            self.step += 1
        weights = {name: self._read(number) for number, name in enumerate(self.names)}
        return torch.func.functional_call(self.module, weights, inputs)

    def codes(self, number: int) -> torch.Tensor:
        """uint8, of the weight's shape"""
        if not self.price:
            return self.get_buffer(f"codes_{number}")
        codes = nearest(self.module.get_parameter(self.names[number]).detach(), self.levels[number].detach())
        return codes.masked_fill_(self.get_buffer(f"settled_{number}"), _zero(self.levels[number]))

    @property
    def bits(self) -> float:
        """About what a coder takes for all codes, by the counts of rows, columns and values."""
        return sum(_bits(self.codes(n), _zero(self.levels[n]))[1] for n in range(len(self.names)))

    def _read(self, number: int) -> torch.Tensor:
        weight, levels = self.module.get_parameter(self.names[number]), self.levels[number]
        if not self.price:
            return _Members.apply(levels, self.get_buffer(f"codes_{number}"))
        share = min(1.0, float(self.step) / (RAMP * self.num_steps)) * (int(self.step) <= self.settles_at)
        costs, settled = self.get_buffer(f"costs_{number}"), self.get_buffer(f"settled_{number}")
        return _Priced.apply(weight, levels, self.codes(number), costs * (self.price * share), settled)

    def _look(self, step: int) -> None:
        """Before a step: what each place costs, now and then; and, once, which zeros stay."""
        if step == self.settles_at:
            for number in range(len(self.names)):
                self.get_buffer(f"settled_{number}").copy_(self.codes(number) == _zero(self.levels[number]))
        if step < self.settles_at and step % REFRESH == 0:
            for number in range(len(self.names)):
                codes = self.codes(number)
                costs, _ = _bits(codes, _zero(self.levels[number]))
                self.get_buffer(f"costs_{number}").copy_(costs.reshape(codes.shape))


class _Members(torch.autograd.Function):  # type: ignore[misc]
    """levels[codes]"""

    @staticmethod
    def forward(ctx: Any, levels_K: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        ctx.codes, ctx.num_levels = codes, len(levels_K)
        return _members(levels_K, codes)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return _of_members(ctx.codes, gradient, ctx.num_levels), None


class _Priced(torch.autograd.Function):  # type: ignore[misc]
    """levels[codes]; on the way back the gradient of what the weights cost is added, and what is settled gets none."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, levels_K: torch.Tensor, *fixed: torch.Tensor) -> torch.Tensor:
        """fixed: codes, costs in units of the loss a bit, settled; each of the weight's shape"""
        ctx.save_for_backward(weight, levels_K, *fixed)
        return _members(levels_K, fixed[0])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        weight, levels_K, codes, costs, settled = ctx.saved_tensors
        told = levels_K[levels_K != 0]
        size = told.abs().amin().clamp_min(1e-3) if len(told) else levels_K.new_ones(())
        pull = torch.sign(weight).mul_(costs).div_(weight.abs().add_(size)).div_(math.log(2))
        return pull.add_(gradient).masked_fill_(settled, 0.0), _of_members(codes, gradient, len(levels_K)), None, None, None


def nearest(weight: torch.Tensor, levels_K: torch.Tensor) -> torch.Tensor:
    """uint8 codes, of the weight's shape; the levels may come in any order."""
    ordered, places = levels_K.detach().sort()
    edges, flat = (ordered[1:] + ordered[:-1]) / 2, weight.detach().flatten()
    if len(edges) > MOST_COMPARED:
        found = torch.bucketize(flat, edges, out_int32=True)
    else:
        found = torch.zeros(flat.shape, dtype=torch.uint8)
        for part, values in zip(found.split(BLOCK), flat.split(BLOCK), strict=True):
            for edge in edges.tolist():
                part += values > edge
    return places.to(torch.uint8).index_select(0, found.int()).reshape(weight.shape)


def _members(levels_K: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """levels[codes]: as an index_select, which is ten times faster."""
    return levels_K.index_select(0, codes.flatten().int()).reshape(codes.shape)


def _of_members(codes: torch.Tensor, gradient: torch.Tensor, num_levels: int) -> torch.Tensor:
    return torch.bincount(codes.flatten().int(), gradient.float().flatten(), minlength=num_levels)


def _bits(codes: torch.Tensor, zero: int) -> tuple[torch.Tensor, float]:
    """(what a value costs more than a zero at each place (o, i), what all codes cost), in bits."""
    told_OI = (codes.reshape(codes.shape[0], -1) != zero).float()
    count = told_OI.sum() + HALF
    rows_O, columns_I = told_OI.sum(1) + HALF, told_OI.sum(0) + HALF
    share_OI = (rows_O[:, None] * (columns_I / count)).clamp_(LEAST_SHARE, MOST_SHARE)
    values = torch.bincount(codes.flatten().int(), minlength=zero + 1).float()
    values[zero] = 0.0
    shares = values[values > 0] / values.sum().clamp_min(1.0)
    each = float(-(shares * shares.log2()).sum())
    empty_OI, full_OI = torch.log2(1 - share_OI), torch.log2(share_OI)
    total = float(-(empty_OI + told_OI * (full_OI - empty_OI)).sum()) + float(told_OI.sum()) * each
    return (empty_OI - full_OI).clamp_min_(0.0).add_(each), total


def _zero(levels_K: torch.Tensor) -> int:
    """Which level is zero (or the nearest to it)."""
    return int(levels_K.detach().abs().argmin())


def _but(place: int) -> Any:
    """The gradient without that level's."""

    def hook(gradient: torch.Tensor) -> torch.Tensor:
        if place < 0:
            return gradient
        kept = gradient.clone()
        kept[place] = 0.0
        return kept

    return hook
