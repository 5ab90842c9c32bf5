"""The trees of scikit-learn's estimators as arrays of nodes: which of them an ensemble has, and how splits are taken out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from farthing.types import Array

LEAF = -1
BISECTIONS = 40
LEAST_ALPHA = 1e-12  # of the largest risk: what is weaker is nothing


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """All trees of an ensemble in one numbering: N nodes, of which `roots` are T."""

    left: Array  # (N,) the child on the left, LEAF where there is none
    right: Array  # (N,)
    risk: Array  # (N,) what a node costs as a leaf: share of the training items in it x their impurity
    roots: Array  # (T,)

    @cached_property
    def levels(self) -> tuple[Array, ...]:
        """Nodes with children, by their depth."""
        levels: list[Array] = []
        here = self.roots
        while len(inner := here[self.left[here] != LEAF]):
            levels.append(inner)
            here = np.concatenate([self.left[inner], self.right[inner]])
        return tuple(levels)

    @property
    def num_leaves(self) -> int:
        return int((self.left == LEAF).sum())


def pruned_at(nodes: Nodes, alpha: float) -> tuple[Array, int]:
    """(N,) which nodes end a branch in the smallest subtrees of least R(T) + alpha |leaves of T|; how many leaves they have.

    Breiman et al. (1984), section 3.3, from the leaves up: a split stays if its best subtrees cost less than itself as a leaf.
    """
    ends, cost = nodes.left == LEAF, nodes.risk + alpha
    for inner in reversed(nodes.levels):
        below = cost[nodes.left[inner]] + cost[nodes.right[inner]]
        as_leaf = nodes.risk[inner] + alpha
        ends[inner] = as_leaf <= below
        cost[inner] = np.minimum(as_leaf, below)
    reached = np.zeros(len(ends), bool)
    reached[nodes.roots] = True
    for inner in nodes.levels:
        split = inner[reached[inner] & ~ends[inner]]
        reached[nodes.left[split]] = reached[nodes.right[split]] = True
    return ends, int((reached & ends).sum())


def pruned_to(nodes: Nodes, num_leaves: int) -> Array:
    """(N,) which nodes end a branch at the least alpha that leaves at most `num_leaves`: one alpha for all trees."""
    high = float(nodes.risk[nodes.roots].max())
    low, ends = LEAST_ALPHA * high, pruned_at(nodes, high)[0]
    for _ in range(BISECTIONS):
        middle = float(np.sqrt(low * high))
        tried, left = pruned_at(nodes, middle)
        if left <= num_leaves:
            high, ends = middle, tried
        else:
            low = middle
    return ends


def tree_estimators(estimator: Any) -> list[Any]:
    """The fitted decision trees of an estimator: itself, or its members where all are trees; empty for anything else."""
    if hasattr(estimator, "tree_"):
        return [estimator]
    members = list(np.ravel(getattr(estimator, "estimators_", [])))
    return members if all(hasattr(member, "tree_") for member in members) else []


def histogram_trees(estimator: Any) -> list[Any]:
    """The predictors of a HistGradientBoosting estimator, stage by stage; empty for anything else."""
    return [tree for stage in getattr(estimator, "_predictors", []) for tree in stage]


def prune(estimator: Any, keep: float) -> tuple[int, int]:
    """Take splits out of the trees of `estimator`, which the caller owns, until `keep` of their leaves are left.

    Gives (leaves before, leaves after).
    """
    trees = tree_estimators(estimator)
    if trees:
        parts = [_of_tree(tree.tree_) for tree in trees]
    else:
        trees = histogram_trees(estimator)
        parts = [_of_histogram(tree.nodes) for tree in trees]
    nodes, starts = _joined(parts)
    ends = np.split(pruned_to(nodes, int(keep * nodes.num_leaves)), starts[1:])
    num_left = 0
    for tree, part, end in zip(trees, parts, ends, strict=True):
        kept, depths = _reached(part, end)
        num_left += int(end[kept].sum())
        if hasattr(tree, "tree_"):
            values = _boosted_values(tree.tree_, part) if _is_boosting(estimator) else tree.tree_.value
            tree.tree_ = _smaller_tree(tree.tree_, values, (kept, depths), end)
        else:
            tree.nodes = _smaller_histogram(tree.nodes, kept, end)
    return nodes.num_leaves, num_left


def means_of_leaves(nodes: Nodes, values: Array, weights: Array) -> Array:
    """Values of all nodes: those of the leaves as they are, above them the mean of what is below, by training items."""
    values = values.copy()
    for inner in reversed(nodes.levels):
        left, right = nodes.left[inner], nodes.right[inner]
        share = weights[left] / (weights[left] + weights[right])
        values[inner] = share * values[left] + (1.0 - share) * values[right]
    return values


def _of_tree(tree: Any) -> Nodes:
    weight = tree.weighted_n_node_samples
    return Nodes(
        left=tree.children_left, right=tree.children_right, risk=tree.impurity * weight / weight[0], roots=np.zeros(1, np.int64)
    )


def _of_histogram(nodes: Array) -> Nodes:
    """A boosting tree keeps the gain of each split, not impurities: R(t) is the gain of all splits at and below t."""
    leaf = nodes["is_leaf"].astype(bool)
    left, right = (np.where(leaf, LEAF, nodes[side].astype(np.int64)) for side in ("left", "right"))
    bare = Nodes(left=left, right=right, risk=np.zeros(len(nodes)), roots=np.zeros(1, np.int64))
    risk = np.zeros(len(nodes))
    for inner in reversed(bare.levels):
        risk[inner] = nodes["gain"][inner] + risk[left[inner]] + risk[right[inner]]
    return Nodes(left=left, right=right, risk=risk, roots=bare.roots)


def _joined(parts: Sequence[Nodes]) -> tuple[Nodes, Array]:
    """All parts in one numbering, and where each begins."""
    starts = np.cumsum([0, *(len(part.left) for part in parts[:-1])])

    def numbered(side: Callable[[Nodes], Array]) -> Array:
        return np.concatenate([np.where(side(p) == LEAF, LEAF, side(p) + s) for p, s in zip(parts, starts, strict=True)])

    risk = np.concatenate([part.risk for part in parts])
    return Nodes(left=numbered(lambda p: p.left), right=numbered(lambda p: p.right), risk=risk, roots=starts), starts


def _reached(nodes: Nodes, ends: Array) -> tuple[Array, Array]:
    """(kept,) nodes from the root down, a parent before its children; their depths."""
    here = nodes.roots
    kept: list[Array] = []
    depths: list[Array] = []
    while len(here):
        kept.append(here)
        depths.append(np.full(len(here), len(depths)))
        split = here[~ends[here]]
        here = np.stack([nodes.left[split], nodes.right[split]], axis=1).ravel()
    return np.concatenate(kept), np.concatenate(depths)


def _is_boosting(estimator: Any) -> bool:
    """GradientBoosting keeps its trees in a table of stages x classes; its leaves are set anew after a tree is grown."""
    return isinstance(getattr(estimator, "estimators_", None), np.ndarray)


def _boosted_values(tree: Any, nodes: Nodes) -> Array:
    return means_of_leaves(nodes, tree.value, tree.weighted_n_node_samples[:, None, None])


def _smaller_tree(tree: Any, values: Array, reached: tuple[Array, Array], ends: Array) -> Any:
    """A tree of the nodes that are `reached`, made as scikit-learn itself makes one when a saved model is read."""
    from sklearn.tree._tree import TREE_LEAF, TREE_UNDEFINED, Tree

    kept, depths = reached
    nodes, closed = tree.__getstate__()["nodes"][kept], ends[kept]
    number = np.zeros(len(ends), np.int64)
    number[kept] = np.arange(len(kept))
    for side in ("left_child", "right_child"):
        nodes[side] = np.where(closed, TREE_LEAF, number[nodes[side]])
    nodes["feature"][closed] = TREE_UNDEFINED
    nodes["threshold"][closed] = TREE_UNDEFINED
    smaller = Tree(tree.n_features, np.asarray(tree.n_classes), tree.n_outputs)
    smaller.__setstate__(
        {"max_depth": int(depths.max()), "node_count": len(kept), "nodes": nodes, "values": np.ascontiguousarray(values[kept])}
    )
    return smaller


def _smaller_histogram(nodes: Array, kept: Array, ends: Array) -> Array:
    """A split that becomes a leaf answers with the mean of the leaves that it had: only leaves hold shrunken values."""
    whole = _of_histogram(nodes)
    values = means_of_leaves(whole, nodes["value"], nodes["count"].astype(np.float64))
    smaller, closed = nodes[kept], ends[kept]
    number = np.zeros(len(ends), np.int64)
    number[kept] = np.arange(len(kept))
    for side in ("left", "right"):
        smaller[side] = np.where(closed, 0, number[smaller[side]])
    smaller["value"], smaller["is_leaf"] = values[kept], closed
    return smaller
