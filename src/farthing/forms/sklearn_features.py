"""Fitted scikit-learn estimators with some features held at a value: rebuilt so that they no longer look at them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from farthing.errors import BuildError
from farthing.forms import sklearn_trees
from farthing.forms.sklearn_trees import LEAF
from farthing.types import Array


def is_linear(estimator: Any) -> bool:
    """Whether it answers from x W' + b alone, with W and b its own; a kernel machine's coef_ is computed from its vectors."""
    return {"coef_", "intercept_"} <= vars(estimator).keys() and np.ndim(estimator.coef_) <= 2


def has_trees(estimator: Any) -> bool:
    return bool(sklearn_trees.tree_estimators(estimator) or sklearn_trees.histogram_trees(estimator))


def used(estimator: Any, num_features: int) -> Array:
    """(num_features,) whether the estimator looks at a feature at all."""
    if is_linear(estimator):
        return np.asarray(np.atleast_2d(estimator.coef_).any(axis=0))
    seen = np.zeros(num_features, bool)
    for tree in sklearn_trees.tree_estimators(estimator):
        seen[tree.tree_.feature[tree.tree_.children_left != LEAF]] = True
    for tree in sklearn_trees.histogram_trees(estimator):
        seen[tree.nodes["feature_idx"][~tree.nodes["is_leaf"].astype(bool)]] = True
    return seen


def hold(estimator: Any, held: Mapping[int, float]) -> Any:
    """The estimator, which the caller owns, so changed that it answers f(x) with x_j = held[j], whatever x_j is.

    Linear: b' = b + sum of held[j] w_j, and its columns j are gone: what comes back reads the other columns alone, picked out
    by a step before it. Trees: a split on j always goes one way, so the branch that is taken stands in its place.
    """
    if is_linear(estimator):
        return _fewer_columns(estimator, held)
    for tree in sklearn_trees.tree_estimators(estimator):
        tree.tree_ = _spliced_tree(tree.tree_, held)
    for tree in sklearn_trees.histogram_trees(estimator):
        tree.nodes = _spliced_histogram(tree.nodes, held)
    return estimator


def _fewer_columns(estimator: Any, held: Mapping[int, float]) -> Any:
    from sklearn.feature_selection import VarianceThreshold
    from sklearn.pipeline import Pipeline as Steps

    weights = np.asarray(estimator.coef_)
    gone = np.array(sorted(held), np.int64)
    kept = np.setdiff1d(np.arange(weights.shape[-1]), gone)
    estimator.intercept_ = estimator.intercept_ + weights[..., gone] @ np.array([held[int(j)] for j in gone])
    estimator.coef_ = np.ascontiguousarray(weights[..., kept])
    estimator.n_features_in_ = len(kept)
    varied = np.zeros((2, weights.shape[-1]), np.float32)
    varied[1, kept] = 1.0  # the step that picks columns is one for those that vary; skl2onnx knows it everywhere
    return Steps([("selected", VarianceThreshold().fit(varied)), ("answer", estimator)])


def _spliced_tree(tree: Any, held: Mapping[int, float]) -> Any:
    """Inputs of decision trees are float32, their thresholds float64."""
    from sklearn.tree._tree import Tree

    state = tree.__getstate__()
    nodes, values = state["nodes"], state["values"]

    def way(node: int) -> int | None:
        row = nodes[node]
        if row["left_child"] == LEAF or int(row["feature"]) not in held:
            return None
        goes_left = np.float32(held[int(row["feature"])]) <= row["threshold"]
        return int(row["left_child"] if goes_left else row["right_child"])

    kept, number, depth = _left_over(nodes["left_child"], nodes["right_child"], way)
    smaller = nodes[kept]
    for side in ("left_child", "right_child"):
        smaller[side] = np.where(smaller[side] == LEAF, LEAF, number[smaller[side]])
    made = Tree(tree.n_features, np.asarray(tree.n_classes), tree.n_outputs)
    made.__setstate__(
        {"max_depth": depth, "node_count": len(kept), "nodes": smaller, "values": np.ascontiguousarray(values[kept])}
    )
    return made


def _spliced_histogram(nodes: Array, held: Mapping[int, float]) -> Array:
    if nodes["is_categorical"].any():
        raise BuildError("a split by categories has no threshold that a held value could fall below")

    leaf = nodes["is_leaf"].astype(bool)
    left, right = (np.where(leaf, LEAF, nodes[side].astype(np.int64)) for side in ("left", "right"))

    def way(node: int) -> int | None:
        feature = int(nodes["feature_idx"][node])
        if leaf[node] or feature not in held:
            return None
        return int(left[node] if held[feature] <= nodes["num_threshold"][node] else right[node])

    kept, number, _ = _left_over(left, right, way)
    smaller = nodes[kept]
    for name, side in (("left", left), ("right", right)):
        smaller[name] = np.where(side[kept] == LEAF, 0, number[side[kept]])
    return smaller


def _left_over(left: Array, right: Array, way: Callable[[int], int | None]) -> tuple[Array, Array, int]:
    """Nodes that can still be reached, a parent before its children; (N,) the new number of each node, a split that always
    goes one `way` having that of the branch it goes to; how deep they lie."""

    def settled(node: int) -> int:
        while (taken := way(node)) is not None:
            node = taken
        return node

    kept: list[int] = []
    here, depth = [settled(0)], -1
    while here:
        kept, depth = [*kept, *here], depth + 1
        split = [node for node in here if left[node] != LEAF]
        here = [settled(int(side[node])) for node in split for side in (left, right)]
    place = {node: position for position, node in enumerate(kept)}
    number = np.zeros(len(left), np.int64)
    for child in {int(side[node]) for node in kept for side in (left, right)} - {LEAF}:
        number[child] = place[settled(child)]
    return np.array(kept), number, depth
