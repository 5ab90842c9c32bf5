"""Method: whole channels (of convolutions) and inner neurons (of linear layers) are taken out, through the dependency graph."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from farthing.errors import BuildError, MissingExtra
from farthing.methods.base import Family, Method, calibration, too_little_to_learn
from farthing.results import Profile
from farthing.types import Context, Pipeline

if TYPE_CHECKING:
    import torch

ROUND_TO = 8  # kernels work on so many channels at once; what is left is a multiple of it where the layer is wide enough
LINEAR_SHARE = 0.6  # of an encoder's linear layers is between a layer's two inner ones: what can be pruned of it


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneChannels(Method):
    """Of each group of coupled layers, the channels c with the least (mean over its weight slices of ||w_c||_p) go.

    Coupled: what writes channel c and everything that reads it or is added to it, found by tracing (Fang et al., DepGraph,
    arXiv 2301.12900; the library Torch-Pruning). Groups that reach the answer itself, or whose channels are split into heads,
    stay as they are. The shapes really shrink: nothing is masked.
    ratio: share of each group's channels that goes. norm: p, 1 or 2.
    """

    ratio: float = 0.5
    norm: int = 2

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"cut"})
    family: ClassVar[Family] = "structure"
    stands_alone: ClassVar[bool] = False

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        if not 0.0 < self.ratio < 1.0:
            raise BuildError(f"prune_channels takes out a share of the channels between 0 and 1, not {self.ratio:g}")
        if self.norm not in (1, 2):
            raise BuildError(f"prune_channels ranks by the L1 or the L2 norm (norm = 1 or 2), not by {self.norm}")
        try:
            import torch_pruning
        except ImportError as error:
            raise MissingExtra("torch_pruning", "pruning") from error
        from farthing.forms import torch_form

        module = torch_form.load(source).requires_grad_(True)
        example = torch_form.tensors(calibration(context)[0], source.inputs)
        expected = torch_form.first(module(*example)).shape
        importance = torch_pruning.importance.GroupMagnitudeImportance(p=self.norm)
        num_pruned = 0
        graph = torch_pruning.DependencyGraph().build_dependency(module, example_inputs=example)
        for root in list(_roots(graph)):
            num_pruned += _prune(graph, root, self.ratio, importance)
        if not num_pruned:
            raise BuildError(f"prune_channels: no group of channels of {type(module).__name__} can be taken out")
        _check(module, example, expected)
        return torch_form.derive(module.requires_grad_(False), source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        if reason := too_little_to_learn(profile):
            return reason
        mild = cls(ratio=0.25)
        if mild.predicted_speedup(profile) < 1.05:
            return "linear and convolution layers take too little of the time"
        return mild, cls(ratio=0.5), cls(ratio=0.75)

    def predicted_speedup(self, profile: Profile) -> float:
        """Convolutions lose channels on both sides; of linear layers only inner neurons go."""
        total_s = sum(op.seconds for op in profile.ops) or 1.0
        linear, conv = (sum(op.seconds for op in profile.ops if op.kind == kind) / total_s for kind in ("linear", "conv"))
        saved = linear * LINEAR_SHARE * self.ratio + conv * (1 - (1 - self.ratio) ** 2)
        return 1.0 / (1.0 - saved * profile.model_s / (profile.model_s + profile.host_s))


def _roots(graph: Any) -> "Iterator[torch.nn.Module]":
    """The first layer of every group that may be pruned."""
    from torch import nn
    from torch_pruning import ops

    closed = (ops._OutputOp, ops._SplitOp, ops._UnbindOp, ops._ExpandOp, ops._SliceOp, nn.Embedding, nn.RNNBase)
    for group in graph.get_all_groups(root_module_types=(nn.modules.conv._ConvNd, nn.Linear)):
        written = [item.dep.target for item in group if graph.is_out_channel_pruning_fn(item.dep.handler)]
        answers = any(not node.outputs for node in written)
        heads = sum(isinstance(node.module, nn.Linear) for node in written) >= 3 and any(
            isinstance(node.module, ops._ReshapeOp) for node in written
        )  # queries, keys and values meet in attention
        if not (answers or heads or any(isinstance(item.dep.target.module, closed) for item in group)):
            yield group[0].dep.target.module


def _prune(graph: Any, root: "torch.nn.Module", ratio: float, importance: Any) -> int:
    """Take the least important channels out of the group of `root`; how many went."""
    pruner = graph.get_pruner_of_module(root)
    width = int(pruner.get_out_channels(root))
    left = max(1, round(width * (1 - ratio)))
    if width >= 2 * ROUND_TO:
        left = max(ROUND_TO, round(left / ROUND_TO) * ROUND_TO)
    if left >= width:
        return 0
    whole = graph.get_pruning_group(root, pruner.prune_out_channels, list(range(width)))
    scores = importance(whole)
    if scores is None:
        return 0
    least = scores.argsort()[: width - left].tolist()
    group = graph.get_pruning_group(root, pruner.prune_out_channels, sorted(least))
    if not graph.check_pruning_group(group):
        return 0
    group.prune()
    return width - left


def _check(module: "torch.nn.Module", example: tuple[Any, ...], expected: Any) -> None:
    import torch

    from farthing.forms import torch_form

    try:
        with torch.no_grad():
            got = torch_form.first(module(*example)).shape
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise BuildError(f"prune_channels: {type(module).__name__} does not run without these channels: {error}") from error
    if got != expected:
        raise BuildError(f"prune_channels: {type(module).__name__} answers {tuple(got)} instead of {tuple(expected)}")
