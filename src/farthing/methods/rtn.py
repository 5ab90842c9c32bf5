"""Method: weights in 8, 4, 3 or 2 bits, rounded to the nearest point of a grid for each group of inputs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from farthing.methods.base import Method, few_bits_cannot_pay, few_bits_speedup
from farthing.results import Profile
from farthing.types import Context, Pipeline

if TYPE_CHECKING:
    import torch

    from farthing.forms.packed import PackedTensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Rtn(Method):
    """w ~= scale_g (code - zero_g), code = clamp(round(w / scale_g) + zero_g, 0, 2**bits - 1), for each group g of inputs.

    scale_g = (max w - min w) / (2**bits - 1), zero_g = round(-min w / scale_g): asymmetric min-max, no data is needed.
    Linear layers of some size; the others stay as they are. Activations stay in float: what is saved is bytes and the
    traffic of reading weights, not products.
    group_size: inputs that share a grid; the largest divisor of a layer's inputs up to it is taken.
    """

    bits: int = 8
    group_size: int = 64

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"packed"})
    drops: ClassVar[frozenset[str]] = frozenset({"float_weights"})

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        from farthing.forms import grouped, torch_form

        grouped.check("rtn", self.bits, self.group_size)
        module = torch_form.load(source)

        def rounded(weight_OGS: "torch.Tensor") -> "PackedTensor":
            scale_OG, zero_OG = grouped.grid(weight_OGS, self.bits)
            return grouped.packed(grouped.codes(weight_OGS, scale_OG, zero_OG, self.bits), scale_OG, zero_OG, self.bits)

        result = grouped.pack_all(module, grouped.linears(module, "rtn"), self.group_size, rounded)
        return torch_form.derive(result, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return few_bits_cannot_pay(profile) or (cls(bits=8), cls(bits=4))

    def predicted_speedup(self, profile: Profile) -> float:
        return few_bits_speedup(profile, self.bits)
