"""Method: whole attention heads of a transformer are taken out of the shapes, those first that are worth the least."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Family, Method, calibration, mildest_where_nothing_is_learned, share_of
from farthing.results import Profile
from farthing.types import Context, Pipeline

if TYPE_CHECKING:
    import torch

    from farthing.forms.attention_heads import Attention
    from farthing.forms.torch_layers import Sample

PROJECTED_SHARE = 1 / 3  # of a transformer's linear layers: four of width d, beside two of 4 d
TOLERANCE = 1e-3  # of the largest answer: sums in another order
NORMS = {"l1": 1, "l2": 2}
IMPORTANCES = (*NORMS, "taylor", "activation")


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneHeads(Method):
    """y = sum over heads h of W_o,h softmax(q_h k_h' / sqrt(d)) v_h with only some of the h left, in all of W_q, W_k, W_v, W_o.

    Heads of all blocks are ranked together, each block's worth divided by its L2 norm, and one of each block stays (Michel et
    al., arXiv 1905.10650). importance: taylor: E |x_h dL/dx_h| summed over the head's channels x_h that W_o reads, one term an
    item of the calibrate split (what L is: `forms.torch_importance`); activation: E |x_h|; l1, l2: mean over the head's four
    slices of sum |w|^p. ratio: share of all heads that goes.

    The cut module must answer as the whole one does with W_o,h = 0; what does not (a module whose code fixes the number of
    heads) is refused.
    """

    ratio: float = 0.25
    importance: str = "taylor"

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"cut"})
    family: ClassVar[Family] = "structure"
    stands_alone: ClassVar[bool] = False

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        if not 0.0 < self.ratio < 1.0:
            raise BuildError(f"prune_heads takes out a share of the heads between 0 and 1, not {self.ratio:g}")
        if self.importance not in IMPORTANCES:
            raise BuildError(f"prune_heads: importance is one of {', '.join(IMPORTANCES)}, not {self.importance!r}")
        from farthing.forms import attention_heads, torch_form, torch_layers

        module = torch_form.load(source)
        samples = torch_layers.samples(source, context, calibration(context, "prune_heads"))
        try:
            found = {a.path: a for a in attention_heads.attentions(module, samples[0].arguments)}
        except BuildError as error:
            raise BuildError(f"prune_heads: {error}") from error
        num_heads = sum(a.num_heads for a in found.values())
        num_gone = min(round(self.ratio * num_heads), num_heads - len(found))
        if num_gone < 1:
            raise BuildError(f"prune_heads: {self.ratio:g} of the {num_heads} heads in {len(found)} blocks is none")
        gone = attention_heads.least(self._worth(module, found, samples, context.seed), num_gone)
        _take_out(module, [(found[path], heads) for path, heads in gone.items()], samples[0].arguments)
        return torch_form.derive(module, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        mild = cls(ratio=0.25)
        if not share_of(profile, ("attention",)):
            return "no operator of the profile is attention"
        if mild.predicted_speedup(profile) < 1.05:
            return "attention and the layers around it take too little of the time"
        return mildest_where_nothing_is_learned(profile, (mild, cls(ratio=0.5)))

    def predicted_speedup(self, profile: Profile) -> float:
        share = share_of(profile, ("attention",)) + PROJECTED_SHARE * share_of(profile, ("linear",))
        return 1.0 / (1.0 - share * self.ratio)

    def _worth(
        self, module: "torch.nn.Module", found: "dict[str, Attention]", samples: "list[Sample]", seed: int
    ) -> "dict[str, torch.Tensor]":
        from farthing.forms import attention_heads, torch_importance

        if self.importance in NORMS:
            return {path: attention_heads.by_norm(module, a, NORMS[self.importance]) for path, a in found.items()}
        readers = [a.out for a in found.values()]
        if self.importance == "activation":
            scores = torch_importance.activations(module, readers, samples)
        else:
            scores = torch_importance.first_order(module, readers, samples, seed)
        return {path: attention_heads.by_scores(scores[a.out], a) for path, a in found.items()}


def _take_out(
    module: "torch.nn.Module", gone: "list[tuple[Attention, list[int]]]", arguments: "tuple[torch.Tensor, ...]"
) -> None:
    import torch

    from farthing.forms import attention_heads, torch_form, torch_layers

    for attention, heads in gone:
        attention_heads.silence(module, attention, heads)
    with torch.no_grad():
        expected = torch_form.first(module(*arguments))
        for attention, heads in gone:
            attention_heads.cut(module, attention, heads)
        torch_layers.check_runs("prune_heads", module, arguments, expected.shape, "these heads")
        apart = float((torch_form.first(module(*arguments)) - expected).abs().max())
    if not apart <= TOLERANCE * float(expected.abs().max()):
        raise BuildError(
            f"prune_heads: the code of {type(module).__name__} fixes the number of heads (of {gone[0][0].path}, say): "
            f"with fewer it answers something else, by {apart:.2g}"
        )
