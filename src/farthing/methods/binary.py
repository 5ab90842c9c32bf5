"""Method: every weight is -a or a, one a for each filter."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from farthing.methods.base import Method, kept_in_float
from farthing.results import Profile
from farthing.types import Context, Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(Method):
    """w ~= a b, b = sign(w), a = mean |w|, for each filter: of such approximations the one with the least ||w - a b||^2.

    Rastegari et al., XNOR-Net, arXiv 1603.05279, its Binary-Weight-Network. Stored in 1 bit (4 on OpenVINO and ONNX Runtime)
    and run as weights of `linear_bits` are: nothing here counts bits instead of multiplying, so that signs of activations would
    cost quality and save nothing.
    keep_float: so many layers, the most sensitive ones, keep their weights. Rounded without learning it loses too much to be
    proposed; `qat` with grid = binary learns with it.
    """

    keep_float: int = 0

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"packed"})
    drops: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    stands_alone: ClassVar[bool] = False

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        from farthing.forms import grids, torch_form

        module = torch_form.load(source)
        kept = kept_in_float(self.keep_float, context, grids.layers(module, "binary"))
        result = grids.pack(module, "binary", lambda _: grids.Binary(), but=kept)
        return torch_form.derive(result, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return "two values a weight lose too much where nothing is learned back: qat with grid = binary does that"

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0
