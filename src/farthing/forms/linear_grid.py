"""Evenly spaced values: a step and an offset for a tensor, a channel or a group, over a range chosen in one of four ways.

Shape suffixes: O first axis of a weight (1 where all of it has one range), G groups of the rest, S values of a group.
"""

from dataclasses import dataclass

import torch

from farthing.errors import BuildError
from farthing.forms.grids import Coded, check_bits, stored
from farthing.forms.packed import MOST_BITS

GRANULARITIES = ("tensor", "channel", "group")
RANGES = ("min_max", "percentile", "mse", "kl")
PERCENTILE = 0.99  # of the values lie inside: of 50 to 149, one does not
SHARES = tuple(0.95**n for n in range(60))  # of the widest range: the narrower ones that are tried
NUM_BINS = 2048  # of the histogram of sizes, as in its source
FEWEST_IN_GROUP = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearGrid:
    """w ~= S (code - zero); see `methods/linear_bits.py` for the equations."""

    bits: int
    symmetric: bool = True
    granularity: str = "channel"
    group_size: int = 64
    range: str = "mse"

    def check(self, method: str) -> None:
        """Raises BuildError for settings that are none, beginning with `method`."""
        check_bits(method, self.bits, 1, MOST_BITS)
        if self.granularity not in GRANULARITIES:
            raise BuildError(f"{method}: granularity is one of {', '.join(GRANULARITIES)}, not {self.granularity!r}")
        if self.range not in RANGES:
            raise BuildError(f"{method}: range is one of {', '.join(RANGES)}, not {self.range!r}")
        if self.group_size < FEWEST_IN_GROUP:
            raise BuildError(f"{method}: a group has at least {FEWEST_IN_GROUP} values, not {self.group_size}")
        if self.symmetric and self.bits == 1:
            raise BuildError(f"{method}: symmetric codes of 1 bit hold only 0 and -S. Use symmetric = false, or `binary`.")
        if self.range == "kl" and not self.symmetric:
            raise BuildError(f"{method}: range = kl compares sizes |w|, so it takes symmetric = true")

    def coded(self, weight: torch.Tensor) -> Coded:
        weight_OGS = self._grouped(weight)
        low_OG, high_OG = self._widest(weight_OGS)
        if self.range == "mse":
            scale_OG, zero_OG = self._least_error(weight_OGS, low_OG, high_OG)
        else:
            share = self._nearest_histogram(weight_OGS, high_OG) if self.range == "kl" else 1.0
            scale_OG, zero_OG = self._steps(share * low_OG, share * high_OG)
        codes_OGS = self._codes(weight_OGS, scale_OG, zero_OG)
        return Coded(codes=codes_OGS, bits=self.bits, shape=tuple(weight.shape), scale=scale_OG, zero=zero_OG)

    def _grouped(self, weight: torch.Tensor) -> torch.Tensor:
        """Groups are of equal size: the largest divisor of a filter's values that is no larger than asked."""
        if self.granularity == "tensor":
            return weight.reshape(1, 1, -1)
        flat_OI = weight.reshape(len(weight), -1)
        if self.granularity == "channel":
            return flat_OI[:, None]
        num_values = flat_OI.shape[1]
        size = max(n for n in range(1, min(self.group_size, num_values) + 1) if num_values % n == 0)
        return flat_OI.unflatten(1, (-1, size))

    def _widest(self, weight_OGS: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The range of min-max, or of PERCENTILE of the values where that is asked for. It holds 0."""
        num_inside = round(weight_OGS.shape[-1] * (PERCENTILE if self.range == "percentile" else 1.0))
        if self.symmetric:
            high_OG = _ranked(weight_OGS.abs(), num_inside)
            return -high_OG, high_OG
        high_OG = _ranked(weight_OGS, num_inside).clamp_min(0.0)
        return -_ranked(-weight_OGS, num_inside).clamp_min(0.0), high_OG

    def _steps(self, low_OG: torch.Tensor, high_OG: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(scale, zero) of the grid between them, in the types in which they are stored."""
        if self.symmetric:
            scale_OG, zero_OG = high_OG / (2 ** (self.bits - 1) - 1), torch.full((1, 1), 2.0 ** (self.bits - 1))
        else:
            scale_OG = (high_OG - low_OG) / (2**self.bits - 1)
        scale_OG = stored(torch.where(scale_OG > 0, scale_OG, 1.0)).float()
        if not self.symmetric:
            zero_OG = -low_OG / scale_OG
        if self.bits == 1:
            return scale_OG, zero_OG
        return scale_OG, zero_OG.round().clamp(0, 2**self.bits - 1).to(torch.uint8)

    def _codes(self, weight_OGS: torch.Tensor, scale_OG: torch.Tensor, zero_OG: torch.Tensor) -> torch.Tensor:
        return (weight_OGS / scale_OG[..., None]).add_(zero_OG[..., None]).round_().clamp_(0, 2**self.bits - 1)

    def _least_error(
        self, weight_OGS: torch.Tensor, low_OG: torch.Tensor, high_OG: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(scale, zero) of the share of the widest range whose sum of (w - w')^2 is least, group by group."""
        least_OG = torch.full_like(high_OG, torch.inf)
        best_OG = torch.ones_like(high_OG)
        for share in SHARES:
            scale_OG, zero_OG = self._steps(share * low_OG, share * high_OG)
            codes_OGS = self._codes(weight_OGS, scale_OG, zero_OG)
            error_OG = (scale_OG[..., None] * (codes_OGS - zero_OG[..., None].float()) - weight_OGS).square().sum(-1)
            best_OG = torch.where(error_OG < least_OG, share, best_OG)
            least_OG = torch.minimum(error_OG, least_OG)
        return self._steps(best_OG * low_OG, best_OG * high_OG)

    def _nearest_histogram(self, weight_OGS: torch.Tensor, high_OG: torch.Tensor) -> float:
        """The share of the widest range with the least KL(P || Q), for all groups together."""
        ratio_OGS = weight_OGS.abs() / high_OG.clamp_min(torch.finfo(torch.float32).tiny)[..., None]
        counts_B = torch.histc(ratio_OGS, NUM_BINS, 0.0, 1.0).double()
        num_steps = 2 ** (self.bits - 1) - 1
        divergences = {share: _divergence(counts_B, round(share * NUM_BINS), num_steps) for share in SHARES}
        return min(divergences, key=lambda share: (divergences[share], -share))


def _ranked(values_OGS: torch.Tensor, rank: int) -> torch.Tensor:
    """(o, g) the value of this rank in each group, the smallest being 1."""
    size = values_OGS.shape[-1]
    return values_OGS.amax(-1) if rank == size else values_OGS.kthvalue(rank, dim=-1).values


def _divergence(counts_B: torch.Tensor, num_inside: int, num_steps: int) -> float:
    """KL(P || Q): P the first bins, what lies beyond them added to the last; Q a step's count spread over its filled bins."""
    inside_B = counts_B[:num_inside]
    expected_B = inside_B.clone()
    expected_B[-1] += counts_B[num_inside:].sum()
    step_B = ((torch.arange(num_inside) + 0.5) / num_inside * num_steps).round().long()
    is_filled_B = (inside_B > 0).double()
    total, filled = (torch.zeros(num_steps + 1, dtype=torch.float64).index_add_(0, step_B, v) for v in (inside_B, is_filled_B))
    spread_B = (total / filled.clamp_min(1))[step_B] * is_filled_B
    p_B, q_B = expected_B / expected_B.sum(), spread_B / spread_B.sum().clamp_min(1e-12)
    return float((p_B * (p_B.clamp_min(1e-12) / q_B.clamp_min(1e-12)).log()).sum())
