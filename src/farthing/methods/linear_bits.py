"""Method: every weight in 1 to 8 bits on an even grid, for a tensor, a channel or a group, its range chosen in four ways."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from farthing.methods.base import Method, bytes_are_free
from farthing.results import Profile
from farthing.types import Context, Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearBits(Method):
    """symmetric: q = clamp(round(w / S), -2^(b-1), 2^(b-1) - 1), S = T / (2^(b-1) - 1), for a range of -T to T;
    asymmetric: q = clamp(round(w / S) + Z, 0, 2^b - 1), S = (high - low) / (2^b - 1), Z = round(-low / S), so that 0 stays 0.

    Jacob et al., arXiv 1712.05877, section 2.1. With 1 bit the two values are the ends of the range and Z is not rounded.

    range: how T, or low and high, are found in each tensor, channel (first axis of the weight) or group.
    - min_max     T = max |w|; low = min w, high = max w
    - percentile  the least range with 99% of the values inside, at each end (Wu et al., arXiv 2004.09602); of fewer than 50
                  values, that of min_max
    - mse         the share of min_max with the least sum of (w - S (q - Z))^2 (as OMSE, Choukroun et al., arXiv 1902.06822)
    - kl          the share of min_max, one for the whole tensor, with the least KL(P || Q) of the histogram of |w| / max |w|:
                  P clipped, Q as the grid tells it (Migacz, 8-bit inference with TensorRT, GTC 2017); symmetric only

    All weights of linear, convolution, recurrent and embedding layers of some size. No data is needed. Activations have no
    knob: real int8 products are those of ort_static_int8 and nncf_int8. Torch decodes weights when the model is opened and runs
    in float32. On OpenVINO codes stay packed in the file (8 bits, or 4 for 1 to 4), but for filters that a batch norm is folded
    into; on ONNX Runtime those of linear layers do. Both decode those of linear layers inside the product.

    `rtn` is the special case symmetric = false, granularity = group, range = min_max, for linear layers alone.
    group_size: with granularity = group, the largest divisor of a filter's values up to it is taken.
    """

    bits: int = 8
    symmetric: bool = True
    granularity: str = "channel"
    group_size: int = 64
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
        return bytes_are_free(profile) or (cls(bits=8), cls(bits=4))

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0
