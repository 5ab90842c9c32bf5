"""Method: a linear or convolution layer becomes two thin ones, where the activations that it sees leave room for it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Family, Method, calibration, mildest_where_nothing_is_learned, share_of
from farthing.results import Profile
from farthing.types import Context, Pipeline

if TYPE_CHECKING:
    import torch

EXPECTED_SHARE = 0.35  # of the linear layers' products that goes at 95% of the energy, on MiniLM
CONVOLUTIONS = ("channel", "spatial")


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank(Method):
    """W ~= (U_r S_r) (V_r' L^-1), from U S V' = svd(W L) with L L' = X'X / n + damping, X the inputs of calibration.

    Of all matrices of rank r, this one has the least ||X W' - X W_r'||_F (Wang et al., SVD-LLM, arXiv 2403.07378): what the
    layer is never asked about costs nothing. whiten = false: L = 1, the plain truncated SVD.
    convolution: channel: k x k to r channels, then 1 x 1 (Zhang et al., arXiv 1505.06798; W holds a row for each output);
    spatial: k x 1 to r channels, then 1 x k, from the plain SVD of W as (inputs k) x (outputs k) (Jaderberg et al., arXiv
    1405.3866; images only, others by channel). Convolutions in groups stay.

    energy: each layer gets the least r that keeps this share of ||W L||_F^2; between 0 and 1. rank: that r for each layer,
    instead; 0: by energy. A layer is replaced only where two thin ones save a tenth of its products.
    """

    energy: float = 0.95
    rank: int = 0
    whiten: bool = True
    convolution: str = "channel"

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"cut"})
    family: ClassVar[Family] = "structure"
    stands_alone: ClassVar[bool] = False

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        self._check()
        from farthing.forms import thin_layers, torch_form, torch_layers

        module, spatial = torch_form.load(source), self.convolution == "spatial"
        samples = torch_layers.samples(source, context, calibration(context, "low_rank"))
        expected = torch_form.first(module(*samples[0].arguments)).shape
        layers = thin_layers.treated(module, samples[0])
        self._check_rank({path: thin_layers.most_rank(layer, spatial=spatial) for path, layer in layers.items()})
        moments = thin_layers.second_moments(module, list(layers), samples) if self.whiten else {}
        num_replaced = 0
        for path, layer in layers.items():
            thin = thin_layers.thin(layer, moments.get(path), self._rank_of, spatial=spatial)
            if thin is not None:
                torch_layers.replace(module, path, thin)
                num_replaced += 1
        if not num_replaced:
            at = f"rank {self.rank}" if self.rank else f"energy {self.energy:g}"
            raise BuildError(f"low_rank: no layer of {type(module).__name__} has a rank low enough to save products at {at}")
        torch_layers.check_runs("low_rank", module, samples[0].arguments, expected, "its whole layers")
        return torch_form.derive(module, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        if cls(energy=0.95).predicted_speedup(profile) < 1.05:
            return "linear layers take too little of the time"
        return mildest_where_nothing_is_learned(profile, (cls(energy=0.95), cls(energy=0.9)))

    def predicted_speedup(self, profile: Profile) -> float:
        gone = min(0.9, EXPECTED_SHARE + 3 * (0.95 - self.energy))
        return 1.0 / (1.0 - share_of(profile, ("linear",)) * max(0.0, gone))

    def _check(self) -> None:
        if not 0.0 < self.energy < 1.0:
            raise BuildError(f"low_rank keeps a share of the energy between 0 and 1, not {self.energy:g}")
        if self.rank < 0:
            raise BuildError(f"low_rank: rank is 1 or more, or 0 to go by the energy, not {self.rank}")
        if self.convolution not in CONVOLUTIONS:
            raise BuildError(f"low_rank: convolution is one of {', '.join(CONVOLUTIONS)}, not {self.convolution!r}")

    def _check_rank(self, most: dict[str, int]) -> None:
        if not self.rank or not most:
            return
        widest = max(most, key=lambda path: most[path])
        if self.rank > most[widest]:
            raise BuildError(
                f"low_rank: rank {self.rank} is above that of every layer; the highest, of layer {widest}, is {most[widest]}"
            )

    def _rank_of(self, singular_values: "torch.Tensor") -> int:
        if self.rank:
            return self.rank
        import torch

        energies: Any = singular_values**2
        kept = torch.cumsum(energies, 0) / energies.sum().clamp_min(1e-300)
        return int(torch.searchsorted(kept, torch.tensor(self.energy, dtype=kept.dtype)).item()) + 1
