"""Method: weights in few bits, rounded one input after the other, each error made good by the inputs still to come."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Method, bytes_are_free, calibration
from farthing.results import Profile
from farthing.types import Context, Pipeline

if TYPE_CHECKING:
    import torch

    from farthing.forms.packed import PackedTensor

BLOCK = 128  # inputs whose corrections reach the rest of the matrix in one product


@dataclass(frozen=True, slots=True, kw_only=True)
class Gptq(Method):
    """Least ||X W' - X Q'||^2 over the grid, greedily: for each input i, q_i = round(w_i), e = (w_i - q_i) / C_ii, and
    w_j <- w_j - e C_ij for the j after i, with C' C = (X'X / n + damping)^-1, C upper triangular.

    Frantar et al., GPTQ, arXiv 2210.17323, equations 2 and 3 in the form of its Cholesky algorithm. Inputs are taken in the
    order of falling X'X (act_order), each group's grid being that of the weights as they came. X is what calibration gives the
    layer in the model whose earlier layers are rounded already. Inputs that are always 0 stay as they are rounded.
    damping: share of the mean diagonal of X'X.
    """

    bits: int = 4
    group_size: int = 64
    damping: float = 0.01
    act_order: bool = True

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"packed"})
    drops: ClassVar[frozenset[str]] = frozenset({"float_weights"})

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        from farthing.forms import grouped, torch_form
        from farthing.forms.packed import Packed

        grouped.check("gptq", self.bits, self.group_size)
        if not 0.0 < self.damping < 1.0:
            raise BuildError(f"gptq: damping is a share between 0 and 1, not {self.damping:g}")
        try:
            batches = [torch_form.tensors(feeds, source.inputs) for feeds in calibration(context)]
        except BuildError as error:
            raise BuildError(f"gptq: {error}") from error
        module, tensors = torch_form.load(source), {}
        layers = dict(grouped.linears(module, "gptq"))
        for paths in grouped.sharing(module, layers.items(), batches[0]):
            moment_II = grouped.seen("gptq", module, layers[paths[0]], batches).moment
            for path in paths:
                tensor = self.rounded(layers[path].weight.detach().float(), moment_II)
                layers[path].weight.data = tensor.decode()
                tensors[f"{path}.weight"] = tensor
        return torch_form.derive(Packed(module, tensors), source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return bytes_are_free(profile) or (cls(bits=4), cls(bits=3))

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0

    def rounded(self, weight_OI: "torch.Tensor", moment_II: "torch.Tensor") -> "PackedTensor":
        """`weight_OI` on its grids, given the second moment X'X / n of its inputs."""
        import torch

        from farthing.forms import grouped

        size = grouped.fitting(self.group_size, weight_OI.shape[1])
        scale_OG, zero_OG = grouped.grid(weight_OI.unflatten(1, (-1, size)), self.bits)
        order = moment_II.diagonal().argsort(descending=True) if self.act_order else torch.arange(weight_OI.shape[1])
        factor_II = _factor(moment_II[order][:, order], self.damping)
        left_OI, codes_OI = weight_OI[:, order].clone(), torch.empty_like(weight_OI)
        for start in range(0, len(order), BLOCK):
            stop = min(start + BLOCK, len(order))
            errors_OB = torch.empty(len(weight_OI), stop - start)
            for i in range(start, stop):
                group = int(order[i]) // size
                scale_O, zero_O = scale_OG[:, group], zero_OG[:, group]
                code_O = (left_OI[:, i] / scale_O + zero_O).round().clamp(0, 2**self.bits - 1)
                error_O = (left_OI[:, i] - scale_O * (code_O - zero_O)) / factor_II[i, i]
                left_OI[:, i + 1 : stop] -= torch.outer(error_O, factor_II[i, i + 1 : stop])
                codes_OI[:, order[i]], errors_OB[:, i - start] = code_O, error_O
            left_OI[:, stop:] -= errors_OB @ factor_II[start:stop, stop:]
        return grouped.packed(codes_OI.unflatten(1, (-1, size)), scale_OG, zero_OG, self.bits)


def _factor(moment_II: "torch.Tensor", damping: float) -> "torch.Tensor":
    """(i, i) the upper triangular C with C' C = (moment + damping)^-1; an input that is always 0 is nobody's business."""
    import torch

    damped = moment_II.clone()
    dead = damped.diagonal() == 0
    damped.diagonal()[dead] = 1.0
    damped.diagonal().add_(damping * damped.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True).float()
