"""Method: layers that read what a cut took away are solved anew by least squares on calibration data; nothing is trained."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Family, Method, calibration, too_little_to_learn
from farthing.results import Profile
from farthing.types import Context, Pipeline

if TYPE_CHECKING:
    import torch

    from farthing.forms.torch_layers import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruct(Method):
    """W' = argmin ||X W'^T - Y||^2 + r ||W' - W||^2, layer by layer in the order of the forward pass.

    X: what the cut model calls the layer with, the layers before it already solved. Y: what the same layer of the original
    answers on the same data, the outputs that are left of it. So errors of earlier layers are made good by later ones (Luo et
    al., ThiNet, arXiv 1707.06342; He et al., arXiv 1707.06168). Solved are the layers that have fewer inputs than in the
    original, and the second of two that a layer was split into. r is `ridge` times the mean diagonal of X^T X: with few rows
    the weights W of the cut stay.
    """

    ridge: float = 0.01

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"cut", "float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"reconstructed"})
    drops: ClassVar[frozenset[str]] = frozenset({"cut"})
    family: ClassVar[Family] = "repair"

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        if not 0.0 < self.ridge < float("inf"):
            raise BuildError(f"reconstruct: ridge is a number above 0, not {self.ridge:g}")
        if context.original is None:
            raise BuildError("reconstruct: it solves for the answers of the original's layers, and there is no original")
        from farthing.forms import least_squares, torch_form, torch_layers

        module, original = torch_form.load(source), torch_form.load(context.original)
        samples = torch_layers.samples(source, context, calibration(context, "reconstruct"))
        targets = least_squares.targets(module, original)
        order = [path for path in _called(module, list(targets), samples[0]) if path in targets]
        if not order:
            raise BuildError(f"reconstruct: no layer of {type(module).__name__} reads fewer channels than in the original")
        before = _distance(module, original, samples)
        for path in order:
            least_squares.solve(module, path, original, targets[path], samples, ridge=self.ridge)
        after = _distance(module, original, samples)
        if not after < before:
            raise BuildError(
                f"reconstruct: the answers came no nearer to the original's on the calibration data ({after:.3g}, before "
                f"{before:.3g}): raise ridge ({self.ridge:g}) or give more of it"
            )
        return torch_form.derive(module, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        if too_little_to_learn(profile) is None:
            return "there is a train split, from which more is learned back than least squares on calibration data gives"
        return (cls(),)

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0  # it only repairs


def _called(module: "torch.nn.Module", paths: list[str], sample: "Sample") -> Iterator[str]:
    """Each path once, in the order of a forward pass."""
    from farthing.forms import torch_layers

    return iter(dict.fromkeys(torch_layers.calls(module, paths, sample.arguments)))


def _distance(module: "torch.nn.Module", original: "torch.nn.Module", samples: "list[Sample]") -> float:
    """Sum of squares between the answers of the two; infinite where one is not finite."""
    import torch

    from farthing.forms import torch_form

    total = 0.0
    with torch.no_grad():
        for sample in samples:
            ours, theirs = (torch_form.first(one(*sample.arguments)).double() for one in (module, original))
            total += float(((ours - theirs) ** 2).sum())
    return total if total < float("inf") else float("inf")
