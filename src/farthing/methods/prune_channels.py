"""Method: whole channels (of convolutions) and inner neurons (of linear layers) are taken out, through the dependency graph."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Family, Method, calibration, mildest_where_nothing_is_learned
from farthing.results import Profile
from farthing.types import Context, Pipeline

if TYPE_CHECKING:
    import torch

    from farthing.forms.torch_groups import Groups, Importance
    from farthing.forms.torch_layers import Sample

ROUND_TO = 8  # kernels work on so many channels at once; what is left is a multiple of it where the layer is wide enough
LINEAR_SHARE = 0.6  # of an encoder's linear layers is between a layer's two inner ones: what can be pruned of it
MOST_ITERATIONS = 20
EPOCHS_BETWEEN, RATE_BETWEEN, ITEMS_BETWEEN = (
    1,
    5e-4,
    8000,
)  # of the learning between two cuts; a repair behind this step learns longer
NORMS = {"l1": 1, "l2": 2}
IMPORTANCES = (*NORMS, "taylor", "activation")


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneChannels(Method):
    """Of each group of coupled layers, the channels c that are worth the least go.

    Coupled: what writes channel c and everything that reads it or is added to it, found by tracing (Fang et al., DepGraph,
    arXiv 2301.12900; the library Torch-Pruning). Groups that reach the answer itself, or whose channels are split into heads,
    stay as they are. The shapes really shrink: nothing is masked.

    ratio: share of each group's channels that goes.
    importance: l1, l2: mean over the weight slices w_c that write or read c of sum |w|^p. taylor: E |sum of w dL/dw| over the
    weights that read c, one term an item of the calibrate split (Molchanov et al., arXiv 1611.06440, 1906.10771; what L is:
    `forms.torch_importance`). activation: E |x_c|, of what the layers that read c are called with.
    iterations: cuts on the way, after i of n of them (1 - ratio)^(i / n) of each group is left; between two, one epoch learns
    from the original's answers to the train split.
    """

    ratio: float = 0.5
    importance: str = "l2"
    iterations: int = 1

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"cut"})
    family: ClassVar[Family] = "structure"
    stands_alone: ClassVar[bool] = False

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        self._check(context)
        from farthing.forms import torch_form, torch_layers

        module = torch_form.load(source)
        samples = torch_layers.samples(source, context, calibration(context, "prune_channels"))
        expected = torch_form.first(module(*samples[0].arguments)).shape
        widths: dict[str, int] = {}
        num_pruned = 0
        for done in range(1, self.iterations + 1):
            share = (1 - self.ratio) ** (done / self.iterations)
            gone = self._cut(module, samples, widths, share, context.seed)
            num_pruned += gone
            torch_layers.check_runs("prune_channels", module, samples[0].arguments, expected, "these channels")
            if gone and done < self.iterations:
                self._learn(module, source, context, done)
        if not num_pruned:
            raise BuildError(
                f"prune_channels: no group of channels of {type(module).__name__} can be taken out at ratio {self.ratio:g} "
                f"(what is left of a wide group is a multiple of {ROUND_TO})"
            )
        return torch_form.derive(module.requires_grad_(False), source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        mild = cls(ratio=0.25)
        if mild.predicted_speedup(profile) < 1.05:
            return "linear and convolution layers take too little of the time"
        return mildest_where_nothing_is_learned(profile, (mild, cls(ratio=0.5), cls(ratio=0.75)))

    def predicted_speedup(self, profile: Profile) -> float:
        """Convolutions lose channels on both sides; of linear layers only inner neurons go."""
        total_s = sum(op.seconds for op in profile.ops) or 1.0
        linear, conv = (sum(op.seconds for op in profile.ops if op.kind == kind) / total_s for kind in ("linear", "conv"))
        saved = linear * LINEAR_SHARE * self.ratio + conv * (1 - (1 - self.ratio) ** 2)
        return 1.0 / (1.0 - saved * profile.model_s / (profile.model_s + profile.host_s))

    def _check(self, context: Context) -> None:
        if not 0.0 < self.ratio < 1.0:
            raise BuildError(f"prune_channels takes out a share of the channels between 0 and 1, not {self.ratio:g}")
        if self.importance not in IMPORTANCES:
            raise BuildError(f"prune_channels: importance is one of {', '.join(IMPORTANCES)}, not {self.importance!r}")
        if not 1 <= self.iterations <= MOST_ITERATIONS:
            raise BuildError(f"prune_channels: iterations lie between 1 and {MOST_ITERATIONS}, not {self.iterations}")
        if self.iterations > 1 and not len(context.train):
            raise BuildError(
                "prune_channels: it learns between cuts from the train split, which is empty: iterations = 1 does not"
            )

    def _cut(self, module: "torch.nn.Module", samples: "list[Sample]", widths: dict[str, int], share: float, seed: int) -> int:
        """Leave `share` of the channels that each group had at first, which `widths` remembers; how many went."""
        from farthing.forms.torch_groups import Groups

        groups = Groups(module.requires_grad_(True), samples[0].arguments)
        module.requires_grad_(False)
        importance = self._importance(groups, module, samples, seed)
        num_pruned = 0
        for root in list(groups.roots()):
            width = widths.setdefault(groups.path(root), groups.width(root))
            num_pruned += groups.prune(root, _left(width, share), importance)
        return num_pruned

    def _importance(self, groups: "Groups", module: "torch.nn.Module", samples: "list[Sample]", seed: int) -> "Importance":
        if self.importance in NORMS:
            return groups.by_norm(NORMS[self.importance])
        from farthing.forms import torch_importance

        paths = groups.readers()
        if self.importance == "activation":
            return groups.by_scores(torch_importance.activations(module, paths, samples))
        return groups.by_scores(torch_importance.first_order(module, paths, samples, seed))

    def _learn(self, module: "torch.nn.Module", source: Pipeline, context: Context, done: int) -> None:
        from farthing.training import Schedule
        from farthing.training.relearning import relearn

        schedule = Schedule(epochs=EPOCHS_BETWEEN, learning_rate=RATE_BETWEEN, seed=context.seed)
        checkpoints = None if context.checkpoints is None else context.checkpoints / f"cut{done}"
        try:
            relearn(lambda *_: module, source, replace(context, checkpoints=checkpoints), schedule, num_items=ITEMS_BETWEEN)
        except BuildError as error:
            raise BuildError(f"prune_channels: between two cuts, {error}") from error


def _left(width: int, share: float) -> int:
    left = max(1, round(width * share))
    if width >= 2 * ROUND_TO:
        left = max(ROUND_TO, round(left / ROUND_TO) * ROUND_TO)
    return left
