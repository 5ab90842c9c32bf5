"""Method: a linear layer becomes two thin ones, where the activations that it sees leave room for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Family, Method, calibration, too_little_to_learn
from farthing.results import Profile
from farthing.types import Context, Pipeline

if TYPE_CHECKING:
    import torch

LEAST_SAVING = 0.1  # of a layer's products: with less, two kernels are not faster than one
DAMPING = 1e-4  # of the mean diagonal of X'X: fewer rows than inputs leave it singular
EXPECTED_SHARE = 0.35  # of the linear layers' products that goes at 95% of the energy, on MiniLM


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank(Method):
    """W ~= (U_r S_r) (V_r' L^-1), from U S V' = svd(W L) with L L' = X'X / n + damping, X the inputs of calibration.

    Of all matrices of rank r, this one has the least ||X W' - X W_r'||_F (Wang et al., SVD-LLM, arXiv 2403.07378): what the
    layer is never asked about costs nothing. Each Linear gets the least r that keeps `energy` of ||W L||_F^2, and is
    replaced only where r (inputs + outputs) saves a tenth of its products. energy: between 0 and 1.
    """

    energy: float = 0.95

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"cut"})
    family: ClassVar[Family] = "structure"
    stands_alone: ClassVar[bool] = False

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        if not 0.0 < self.energy < 1.0:
            raise BuildError(f"low_rank keeps a share of the energy between 0 and 1, not {self.energy:g}")
        from farthing.forms import torch_form

        module = torch_form.load(source)
        batches = [torch_form.tensors(feeds, source.inputs) for feeds in calibration(context)]
        num_replaced = 0
        for path, (second_moment, num_rows) in _observed(module, batches).items():
            thin = _thin(module.get_submodule(path), second_moment / num_rows, self.energy)
            if thin is not None:
                parent, _, name = path.rpartition(".")
                setattr(module.get_submodule(parent), name, thin)
                num_replaced += 1
        if not num_replaced:
            raise BuildError(
                f"low_rank: no linear layer of {type(module).__name__} has a rank low enough at energy {self.energy:g}"
            )
        return torch_form.derive(module, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        if reason := too_little_to_learn(profile):
            return reason
        if cls(energy=0.95).predicted_speedup(profile) < 1.05:
            return "linear layers take too little of the time"
        return cls(energy=0.95), cls(energy=0.9)

    def predicted_speedup(self, profile: Profile) -> float:
        total_s = sum(op.seconds for op in profile.ops) or 1.0
        share = sum(op.seconds for op in profile.ops if op.kind == "linear") / total_s
        share *= profile.model_s / (profile.model_s + profile.host_s)
        gone = min(0.9, EXPECTED_SHARE + 3 * (0.95 - self.energy))
        return 1.0 / (1.0 - share * max(0.0, gone))


def _observed(module: "torch.nn.Module", batches: Iterable[tuple[Any, ...]]) -> "dict[str, tuple[torch.Tensor, int]]":
    """For each Linear that the forward pass calls: (X'X, number of rows of X), summed over the batches."""
    import torch

    found: dict[str, tuple[torch.Tensor, int]] = {}

    def watch(path: str) -> Any:
        def hook(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            x_NI = inputs[0].detach().reshape(-1, inputs[0].shape[-1]).double()
            before, num_rows = found.get(path, (torch.zeros(x_NI.shape[1], x_NI.shape[1], dtype=torch.float64), 0))
            found[path] = (before + x_NI.T @ x_NI, num_rows + len(x_NI))

        return hook

    linears = [(path, m) for path, m in module.named_modules() if isinstance(m, torch.nn.Linear)]
    handles = [m.register_forward_pre_hook(watch(path)) for path, m in linears]
    with torch.no_grad():
        for batch in batches:
            module(*batch)
    for handle in handles:
        handle.remove()
    return found


def _thin(linear: "torch.nn.Linear", second_moment: "torch.Tensor", energy: float) -> "torch.nn.Module | None":
    """Two layers that do the work of `linear`; None where they would not have less of it."""
    import torch

    damped = second_moment + DAMPING * second_moment.diagonal().mean().clamp_min(1e-12) * torch.eye(len(second_moment))
    L_II = torch.linalg.cholesky(damped)
    U_OR, S_R, Vt_RI = torch.linalg.svd(linear.weight.double() @ L_II, full_matrices=False)
    kept = torch.cumsum(S_R**2, 0) / (S_R**2).sum()
    rank = int(torch.searchsorted(kept, torch.tensor(energy, dtype=torch.float64)).item()) + 1
    products = linear.in_features * linear.out_features
    if rank * (linear.in_features + linear.out_features) > (1 - LEAST_SAVING) * products:
        return None
    down, up = torch.nn.Linear(linear.in_features, rank, bias=False), torch.nn.Linear(rank, linear.out_features)
    down.weight.data = torch.linalg.solve_triangular(L_II, Vt_RI[:rank], upper=False, left=False).float().contiguous()
    up.weight.data = (U_OR[:, :rank] * S_R[:rank]).float().contiguous()
    up.bias.data = linear.bias.detach().clone() if linear.bias is not None else torch.zeros(linear.out_features)
    return torch.nn.Sequential(down, up).eval().requires_grad_(False)
