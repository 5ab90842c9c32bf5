"""Method: splits that hardly lower the impurity are taken out of fitted decision trees."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Family, Method
from farthing.results import Profile
from farthing.types import Context, Pipeline

CALLS = 0.6  # of a forest's time that does not depend on how large its trees are: scikit-learn and ONNX Runtime, 2026-11
LEAST_LEAVES = 2  # a tree on average: one leaf answers everything alike


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneTree(Method):
    """T' = argmin over subtrees T' of T of R(T') + alpha |leaves of T'|, R the leaves' impurity by their share of the items.

    Minimal cost-complexity pruning (Breiman, Friedman, Olshen and Stone 1984, chapter 3), done to a tree that is already
    grown: its nodes remember the impurity and weight of the items that it was fitted on, so no data is needed. One alpha, the
    least that leaves `keep` of the leaves, is put to all trees of a forest or of a boosting. A boosting that keeps gains in
    place of impurities has R(t) = the gain of all splits at and below t. A split that goes answers as scikit-learn would: with
    the mean of its items; in a boosting with the mean of the leaves that it had.
    keep: between 0 and 1.
    """

    keep: float = 0.25

    consumes: ClassVar[frozenset[str]] = frozenset({"sklearn"})
    adds: ClassVar[frozenset[str]] = frozenset({"pruned"})
    family: ClassVar[Family] = "structure"

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        if not 0.0 < self.keep < 1.0:
            raise BuildError(f"prune_tree: it keeps a share of the leaves between 0 and 1, not {self.keep:g}")
        from farthing.forms import sklearn_form, sklearn_parts, sklearn_trees

        model = sklearn_form.load(source)
        estimator = sklearn_parts.final(model)
        num_trees, num_leaves = _counted(estimator)
        if int(self.keep * num_leaves) < LEAST_LEAVES * num_trees:
            raise BuildError(
                f"prune_tree: {self.keep:g} of the {num_leaves} leaves of {type(estimator).__name__} is fewer than"
                f" {LEAST_LEAVES} for each of its {num_trees} trees. Raise keep, or take whole trees away."
            )
        sklearn_trees.prune(estimator, self.keep)
        return sklearn_parts.derive(model, source, directory, source.traits - self.drops | self.adds, "prune_tree")

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        from farthing.forms import sklearn_parts

        return sklearn_parts.known_network(profile) or (cls(keep=0.25), cls(keep=0.1))

    def predicted_speedup(self, profile: Profile) -> float:
        """Calls of scikit-learn cost more than what the trees do in them; in a graph, the memory that trees take counts."""
        return 1.0 / (CALLS + (1.0 - CALLS) * self.keep)


def _counted(estimator: Any) -> tuple[int, int]:
    """(trees, leaves). Raises BuildError for what has no trees, and for what reads the lengths of their branches."""
    from sklearn.base import is_outlier_detector

    from farthing.forms import sklearn_trees

    name = type(estimator).__name__
    if is_outlier_detector(estimator):
        raise BuildError(f"prune_tree: {name} answers with the lengths of its branches, which pruning cuts short")
    trees = sklearn_trees.tree_estimators(estimator)
    leaves = [int(tree.tree_.n_leaves) for tree in trees] or [
        int(tree.get_n_leaf_nodes()) for tree in sklearn_trees.histogram_trees(estimator)
    ]
    if not leaves:
        raise BuildError(f"prune_tree: {name} has no decision trees")
    return len(leaves), sum(leaves)
