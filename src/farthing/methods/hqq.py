"""Method: weights in few bits, each grid's offset moved so that most weights lie near it and few outliers far off."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Method, few_bits_cannot_pay, few_bits_speedup
from farthing.results import Profile
from farthing.types import Context, Pipeline

if TYPE_CHECKING:
    import torch

    from farthing.forms.packed import PackedTensor

CHUNK = 2**16  # weights that are settled together: what each turn reads again stays in the cache
BETA, GROWTH = 10.0, 1.01  # of the penalty, and its growth at each step


@dataclass(frozen=True, slots=True, kw_only=True)
class Hqq(Method):
    """min over zero_g of ||w - scale_g (code - zero_g)||_p^p, p < 1, by half-quadratic splitting (Badri & Shaji, HQQ, 2023).

    In turns, with e what is left of w: e <- shrink(w - w'), shrink(x) = sign(x) relu(|x| - |x|^(p - 1) / beta), which leaves
    outliers their error; zero_g <- mean over the group of code - (w - e) / scale_g; beta grows. Scales are those of min-max, no
    data is needed. The offset with the least mean |w - w'| is kept.
    norm: p. steps: at most so many turns.
    """

    bits: int = 4
    group_size: int = 64
    norm: float = 0.7
    steps: int = 20

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"packed"})
    drops: ClassVar[frozenset[str]] = frozenset({"float_weights"})

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        from farthing.forms import grouped, torch_form

        grouped.check("hqq", self.bits, self.group_size)
        if not 0.0 < self.norm < 1.0:
            raise BuildError(f"hqq: the norm lies between 0 and 1, not {self.norm:g}; with 1 and more use linear_bits")
        module = torch_form.load(source)
        result = grouped.pack_all(module, grouped.linears(module, "hqq"), self.group_size, self.settled)
        return torch_form.derive(result, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return few_bits_cannot_pay(profile) or (cls(bits=4), cls(bits=3))

    def predicted_speedup(self, profile: Profile) -> float:
        return few_bits_speedup(profile, self.bits)

    def settled(self, weight_OGS: "torch.Tensor") -> "PackedTensor":
        """One weight in equal groups of inputs, on grids whose offsets have come to rest."""
        import torch

        from farthing.forms import grouped

        scale_OG, zero_OG = grouped.grid(weight_OGS, self.bits)
        rows = max(1, CHUNK // weight_OGS[0].numel())
        parts = zip(weight_OGS.split(rows), scale_OG.split(rows), zero_OG.split(rows), strict=True)
        zero_OG = torch.cat([self._zero(*part) for part in parts])
        return grouped.packed(grouped.codes(weight_OGS, scale_OG, zero_OG, self.bits), scale_OG, zero_OG, self.bits)

    def _zero(self, weight_OGS: "torch.Tensor", scale_OG: "torch.Tensor", zero_OG: "torch.Tensor") -> "torch.Tensor":
        """(o, g) the offset of each group, no worse than the one it was given."""
        import torch

        from farthing.forms import grouped

        best_OG = zero_OG
        least_OG = torch.full_like(zero_OG, torch.inf)
        beta = BETA
        for _ in range(self.steps):
            codes_OGS = grouped.codes(weight_OGS, scale_OG, zero_OG, self.bits)
            error_OGS = weight_OGS - scale_OG[..., None] * (codes_OGS - zero_OG[..., None])
            size_OGS = error_OGS.abs()
            mean_OG = size_OGS.mean(-1)
            best_OG, least_OG = torch.where(mean_OG < least_OG, zero_OG, best_OG), torch.minimum(mean_OG, least_OG)
            left_OGS, limit = weight_OGS, beta ** (-1.0 / (2.0 - self.norm))  # beyond it |x| > |x|^(p - 1) / beta
            if float(size_OGS.max()) > limit:
                far_OGS = size_OGS > limit
                error, left_OGS = error_OGS[far_OGS], weight_OGS.clone()
                left_OGS[far_OGS] -= error.sign() * (error.abs() - error.abs() ** (self.norm - 1) / beta)
            zero_OG = grouped.half(codes_OGS.sub_(left_OGS / scale_OG[..., None]).mean(-1))
            beta *= GROWTH
        return best_OG
