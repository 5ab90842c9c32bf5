"""Method: every weight is -a, 0 or a, one a for each filter."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from farthing.methods.base import Method, kept_in_float
from farthing.results import Profile
from farthing.types import Context, Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Ternary(Method):
    """w ~= a t, t = sign(w) where |w| > d, else 0; d = 0.7 mean |w|, a = mean of the |w| above d; for each filter.

    Li et al., Ternary Weight Networks, arXiv 1605.04711: of such approximations nearly the one with the least ||w - a t||^2.
    Stored in 2 bits (4 on OpenVINO and ONNX Runtime) and run as weights of `linear_bits` are: nothing here adds instead of
    multiplying, so activations stay as they are.
    keep_float: so many layers, the most sensitive ones, keep their weights. Rounded without learning it loses too much to be
    proposed; `qat` with grid = ternary learns with it.
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
        kept = kept_in_float(self.keep_float, context, grids.layers(module, "ternary"))
        result = grids.pack(module, "ternary", lambda _: grids.Ternary(), but=kept)
        return torch_form.derive(result, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return "three values a weight lose too much where nothing is learned back: qat with grid = ternary does that"

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0
