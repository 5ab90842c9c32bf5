"""Groups of coupled channels of a torch module, found by Torch-Pruning: which may be cut, what a channel is worth, the cut."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from farthing.errors import MissingExtra
from farthing.forms.torch_importance import Scores

try:
    import torch_pruning
    from torch_pruning import ops
except ImportError as error:
    raise MissingExtra("torch_pruning", "pruning") from error

Importance = Callable[[Any], torch.Tensor | None]  # a group -> (width,) what each of its channels is worth

_CLOSED = (ops._OutputOp, ops._SplitOp, ops._UnbindOp, ops._ExpandOp, ops._SliceOp, nn.Embedding, nn.RNNBase)


class Groups:
    """The coupled channels of `module`, which is changed in place by `prune`."""

    def __init__(self, module: nn.Module, example: tuple[torch.Tensor, ...]) -> None:
        self._graph = torch_pruning.DependencyGraph().build_dependency(module, example_inputs=example)
        self._paths: dict[nn.Module, str] = {part: path for path, part in module.named_modules()}
        self._scores: Scores = {}

    def roots(self) -> Iterator[nn.Module]:
        """The first layer of every group that may be pruned: none that reaches the answer, nor one that is split into heads."""
        for group in self._graph.get_all_groups(root_module_types=(nn.modules.conv._ConvNd, nn.Linear)):
            written = [item.dep.target for item in group if self._graph.is_out_channel_pruning_fn(item.dep.handler)]
            answers = any(not node.outputs for node in written)
            heads = sum(isinstance(node.module, nn.Linear) for node in written) >= 3 and any(
                isinstance(node.module, ops._ReshapeOp) for node in written
            )  # queries, keys and values meet in attention
            if not (answers or heads or any(isinstance(item.dep.target.module, _CLOSED) for item in group)):
                yield group[0].dep.target.module

    def readers(self) -> list[str]:
        """Paths of the layers that multiply channels by weights."""
        return [path for part, path in self._paths.items() if isinstance(part, nn.modules.conv._ConvNd | nn.Linear)]

    def path(self, root: nn.Module) -> str:
        return self._paths[root]

    def width(self, root: nn.Module) -> int:
        return int(self._graph.get_pruner_of_module(root).get_out_channels(root))

    def prune(self, root: nn.Module, left: int, importance: Importance) -> int:
        """Take the least important channels out of the group of `root` until `left` are left; how many went."""
        pruner, width = self._graph.get_pruner_of_module(root), self.width(root)
        if left >= width:
            return 0
        scores = importance(self._graph.get_pruning_group(root, pruner.prune_out_channels, list(range(width))))
        if scores is None:
            return 0
        least = scores.argsort()[: width - left].tolist()
        group = self._graph.get_pruning_group(root, pruner.prune_out_channels, sorted(least))
        if not self._graph.check_pruning_group(group):
            return 0
        for path, idxs in self._read(group):
            self._scores[path] = _without(self._scores[path], idxs)
        group.prune()
        return width - left

    def by_norm(self, power: int) -> Importance:
        """Mean over the weight slices that write or read a channel of the sum of |w|^power."""
        importance: Importance = torch_pruning.importance.GroupMagnitudeImportance(p=power)
        return importance

    def by_scores(self, scores: Scores) -> Importance:
        """Mean over the items of |what all layers that read the channel have to say of it|, each told by `scores`."""

        self._scores = dict(scores)

        def importance(group: Any) -> torch.Tensor | None:
            width = len(group[0].idxs)
            num_items = max((len(found) for found in self._scores.values()), default=0)
            total_NC, num_readers = torch.zeros(num_items, width), torch.zeros(width)
            for item in group:
                for path, idxs in self._read([item]):
                    roots = torch.tensor(item.root_idxs)
                    total_NC.index_add_(1, roots, self._scores[path][:, torch.tensor(idxs)])
                    num_readers.index_add_(0, roots, torch.ones(len(roots)))
            if not num_readers.any():
                return None
            return (total_NC / num_readers.clamp_min(1)).abs().mean(0)

        return importance

    def _read(self, group: Any) -> Iterator[tuple[str, list[int]]]:
        """(path, the channels) of the scored layers that read channels of the group."""
        for item in group:
            path = self._paths.get(item.dep.target.module, "")
            in_order = max(item.idxs, default=0) < self._scores[path].shape[1] if path in self._scores else False
            if in_order and self._graph.is_in_channel_pruning_fn(item.dep.handler):
                yield path, list(item.idxs)


def _without(scores_NC: torch.Tensor, idxs: list[int]) -> torch.Tensor:
    kept = torch.ones(scores_NC.shape[1], dtype=torch.bool)
    kept[idxs] = False
    return scores_NC[:, kept]
