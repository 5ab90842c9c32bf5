"""Method: weights in few bits, rounded one input after the other, each error made good by the inputs still to come."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Method, calibration, few_bits_cannot_pay, few_bits_speedup
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
        batches = [torch_form.tensors(feeds, source.inputs) for feeds in calibration(context, "gptq")]
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
        return few_bits_cannot_pay(profile) or (cls(bits=4), cls(bits=3))

    def predicted_speedup(self, profile: Profile) -> float:
        return few_bits_speedup(profile, self.bits)

    def rounded(self, weight_OI: "torch.Tensor", moment_II: "torch.Tensor") -> "PackedTensor":
        """`weight_OI` on its grids, given the second moment X'X / n of its inputs."""
        import torch

        from farthing.forms import grouped

        size = grouped.fitting(self.group_size, weight_OI.shape[1])
        scale_OG, zero_OG = grouped.grid(weight_OI.unflatten(1, (-1, size)), self.bits)
        order = moment_II.diagonal().argsort(descending=True) if self.act_order else torch.arange(weight_OI.shape[1])
        factor_II = _factor(moment_II[order][:, order], self.damping)
        diagonal, groups = factor_II.diagonal().tolist(), (order // size).tolist()
        scale_GO, zero_GO = scale_OG.T.contiguous(), zero_OG.T.contiguous()  # what is worked on at a time lies side by side
        left_IO = weight_OI.T[order].contiguous()
        codes_IO, errors_IO = torch.empty_like(left_IO), torch.empty_like(left_IO)
        for start in range(0, len(order), BLOCK):
            stop = min(start + BLOCK, len(order))
            for i in range(start, stop):
                scale_O, zero_O, code_O = scale_GO[groups[i]], zero_GO[groups[i]], codes_IO[i]
                torch.div(left_IO[i], scale_O, out=code_O).add_(zero_O).round_().clamp_(0, 2**self.bits - 1)
                torch.sub(left_IO[i], (code_O - zero_O).mul_(scale_O), out=errors_IO[i]).div_(diagonal[i])
                left_IO[i + 1 : stop].addr_(factor_II[i, i + 1 : stop], errors_IO[i], alpha=-1.0)
            left_IO[stop:].addmm_(factor_II[start:stop, stop:].T, errors_IO[start:stop], alpha=-1.0)
        codes_OI = codes_IO[order.argsort()].T
        return grouped.packed(codes_OI.unflatten(1, (-1, size)), scale_OG, zero_OG, self.bits)


def _factor(moment_II: "torch.Tensor", damping: float) -> "torch.Tensor":
    """(i, i) the upper triangular C with C' C = (moment + damping)^-1; an input that is always 0 is nobody's business.

    One Cholesky factor: with the order of the inputs turned round it is lower triangular, L L' = moment + damping; turned back,
    it is upper triangular, U U' = moment + damping, and C = U^-1.
    """
    import torch

    damped = moment_II.flip(0, 1)
    dead = damped.diagonal() == 0
    damped.diagonal()[dead] = 1.0
    damped.diagonal().add_(damping * damped.diagonal().mean())
    lower_II = torch.linalg.cholesky(damped)
    identity_II = torch.eye(len(damped), dtype=damped.dtype)
    return torch.linalg.solve_triangular(lower_II, identity_II, upper=False).flip(0, 1).float().contiguous()
