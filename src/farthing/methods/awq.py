"""Method: weights in few bits, the inputs that are large scaled up before rounding, so that their weights keep more of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from farthing.methods.base import Method, calibration, few_bits_cannot_pay, few_bits_speedup
from farthing.results import Profile
from farthing.types import Context, Pipeline

if TYPE_CHECKING:
    import torch

    from farthing.forms.grouped import Seen
    from farthing.forms.packed import PackedTensor

STEPS = 20  # values of alpha from 0 up to, not with, 1; and of the ends of a grid
LEAST_SHRINK = 0.5  # of a grid's ends
SMALLEST = 1e-4  # an input that is all but 0 needs no scale of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Awq(Method):
    """w x ~= Q(w s) (x / s), s_i = mean|x_i|^alpha, with the alpha of least ||X W' - (X / s) Q(W s)'||^2 on calibration data.

    Lin et al., AWQ, arXiv 2306.00978, equations 4 and 5. Layers that are given one tensor share alpha and s. Where a norm gave
    that tensor, and only to them, s goes into its weight and bias; else the layer divides its input itself: that is one product
    an input, next to one an input and output, and any model can be treated. Whether nobody else reads what the norm gave is
    found by trying: the model must answer as before. A weight that other parts of the model read too is not scaled.
    clip: the ends of each group's grid are drawn in by the factor between 0.5 and 1 that leaves the least error of this
    group's share of the output.
    """

    bits: int = 4
    group_size: int = 64
    clip: bool = True

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"packed"})
    drops: ClassVar[frozenset[str]] = frozenset({"float_weights"})

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        import torch

        from farthing.forms import grouped, scaling, torch_form
        from farthing.forms.packed import Packed

        grouped.check("awq", self.bits, self.group_size)
        batches = [torch_form.tensors(feeds, source.inputs) for feeds in calibration(context, "awq")]
        module, tensors = torch_form.load(source), {}
        layers = dict(grouped.linears(module, "awq"))
        for paths in grouped.sharing(module, layers.items(), batches[0]):
            seen = grouped.seen("awq", module, layers[paths[0]], batches)
            scale_I = self.scale([layers[path].weight.detach().float() for path in paths], seen)
            if not scaling.scale_inputs(module, paths, scale_I, batches[0]):
                scale_I = torch.ones_like(scale_I)
            moment_II = seen.moment.float() / scale_I / scale_I[:, None]
            for path in paths:
                layer = module.get_submodule(path)
                tensors[f"{path}.weight"] = tensor = self.rounded(layer.weight.detach().float(), moment_II)
                layer.weight.data = tensor.decode()
        return torch_form.derive(Packed(module, tensors), source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return few_bits_cannot_pay(profile) or (cls(bits=4), cls(bits=3))

    def predicted_speedup(self, profile: Profile) -> float:
        return few_bits_speedup(profile, self.bits)

    def scale(self, weights_OI: "Sequence[torch.Tensor]", seen: "Seen") -> "torch.Tensor":
        """(i,) s of the layers that are given this input; all 1 where no alpha above 0 is better, or nothing was seen."""
        import torch

        moment_II = seen.moment.float()
        best_I, least = torch.ones_like(seen.size), torch.inf
        for step in range(STEPS if seen.size.any() else 0):
            scale_I = (seen.size ** (step / STEPS)).clamp_min(SMALLEST)
            scale_I = scale_I / (scale_I.max() * scale_I.min()).sqrt()
            errors_OI = [self._nearest(weight_OI * scale_I) / scale_I - weight_OI for weight_OI in weights_OI]
            error = sum(float(((error_OI @ moment_II) * error_OI).sum()) for error_OI in errors_OI)
            if error < least:
                best_I, least = scale_I, error
        return best_I

    def rounded(self, weight_OI: "torch.Tensor", moment_II: "torch.Tensor") -> "PackedTensor":
        """`weight_OI` on its grids, given the second moment of its inputs, both after scaling."""
        import torch

        from farthing.forms import grouped

        size = grouped.fitting(self.group_size, weight_OI.shape[1])
        weight_OGS = weight_OI.unflatten(1, (-1, size))
        moment_GSS = torch.stack([block_II[:, i * size : (i + 1) * size] for i, block_II in enumerate(moment_II.split(size))])
        scale_OG, zero_OG = grouped.grid(weight_OGS, self.bits)
        least_OG = torch.full_like(scale_OG, torch.inf)
        for step in range(STEPS if self.clip else 0):
            shrink = 1.0 - (1.0 - LEAST_SHRINK) * step / STEPS
            tried_OG, offset_OG = grouped.grid(weight_OGS, self.bits, shrink)
            codes_OGS = grouped.codes(weight_OGS, tried_OG, offset_OG, self.bits)
            error_OGS = tried_OG[..., None] * (codes_OGS - offset_OG[..., None]) - weight_OGS
            error_OG = (torch.einsum("ogs,gst->ogt", error_OGS, moment_GSS) * error_OGS).sum(-1)
            better_OG = error_OG < least_OG
            scale_OG, zero_OG = torch.where(better_OG, tried_OG, scale_OG), torch.where(better_OG, offset_OG, zero_OG)
            least_OG = torch.minimum(error_OG, least_OG)
        return grouped.packed(grouped.codes(weight_OGS, scale_OG, zero_OG, self.bits), scale_OG, zero_OG, self.bits)

    def _nearest(self, weight_OI: "torch.Tensor") -> "torch.Tensor":
        from farthing.forms import grouped

        weight_OGS = weight_OI.unflatten(1, (-1, grouped.fitting(self.group_size, weight_OI.shape[1])))
        scale_OG, zero_OG = grouped.grid(weight_OGS, self.bits)
        codes_OGS = grouped.codes(weight_OGS, scale_OG, zero_OG, self.bits)
        return (scale_OG[..., None] * (codes_OGS - zero_OG[..., None])).flatten(1)
