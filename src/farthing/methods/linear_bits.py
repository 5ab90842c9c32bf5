"""Method: every weight in 1 to 8 bits on an even grid, for a tensor, a channel or a group, its range chosen in four ways."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from farthing.methods.base import Method, few_bits_cannot_pay, few_bits_speedup
from farthing.results import Profile
from farthing.types import Context, Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearBits(Method):
    """symmetric: q = clamp(round(w / S), -2^(b-1), 2^(b-1) - 1), S = T / (2^(b-1) - 1), for a range of -T to T;
    asymmetric: q = clamp(round(w / S) + Z, 0, 2^b - 1), S = (high - low) / (2^b - 1), Z = round(-low / S), so that 0 stays 0.

    Jacob et al., arXiv 1712.05877, section 2.1. `range` finds T (or low and high) for each tensor, channel or group:
    `min_max`; `percentile`, 99% of the values inside at each end (Wu et al., arXiv 2004.09602; below 50 values min_max);
    `mse`, the share of min_max with the least sum of (w - S (q - Z))^2 (OMSE, arXiv 1902.06822); `kl`, the share, one a tensor,
    with the least KL(P || Q) of the histogram of |w|, P clipped, Q as the grid tells it (Migacz, GTC 2017; symmetric only).

    Weights of linear, convolution, recurrent and embedding layers, without data. Torch decodes them on opening; OpenVINO (8 or
    4 bits) and, for linear layers, ONNX Runtime keep codes packed.
    Round to nearest, as said of language models, is asymmetric, group, min_max: tried where layers wait for their weights.
    """

    bits: int = 8
    symmetric: bool = True
    granularity: str = "channel"
    group_size: int = 64  # the largest divisor of a filter's values up to it is taken
    range: str = "mse"

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"packed"})
    drops: ClassVar[frozenset[str]] = frozenset({"float_weights"})

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        from farthing.forms import grids, torch_form
        from farthing.forms.linear_grid import LinearGrid

        grid = LinearGrid(
            bits=self.bits, symmetric=self.symmetric, granularity=self.granularity, group_size=self.group_size, range=self.range
        )
        grid.check("linear_bits")
        result = grids.pack(torch_form.load(source), "linear_bits", lambda _: grid)
        return torch_form.derive(result, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        if reason := few_bits_cannot_pay(profile):
            return reason
        nearest = tuple(cls(bits=bits, symmetric=False, granularity="group", range="min_max") for bits in (8, 4))
        return (cls(bits=8), cls(bits=4), *nearest) if profile.bytes_are_limited else nearest

    def predicted_speedup(self, profile: Profile) -> float:
        return few_bits_speedup(profile, 8 if self.bits > 4 else 4)
