"""Trees pruned after they were grown: as scikit-learn prunes them while it fits, in forests and boostings too."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.tree import DecisionTreeClassifier

from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.errors import BuildError
from farthing.forms import sklearn_form, sklearn_trees
from farthing.methods.prune_tree import PruneTree
from farthing.testing import zoo
from farthing.testing.profiles import encoder_profile


def digits() -> tuple[np.ndarray, np.ndarray]:
    features, labels = load_digits(return_X_y=True)
    return features[::2].astype(np.float32), labels[::2]


@pytest.mark.parametrize("alpha", [0.002, 0.005, 0.02])
def test_it_is_the_tree_that_scikit_learn_prunes_while_fitting(alpha: float) -> None:
    features, labels = digits()
    whole = DecisionTreeClassifier(random_state=0).fit(features, labels)
    theirs = DecisionTreeClassifier(random_state=0, ccp_alpha=alpha).fit(features, labels)
    keep = (theirs.get_n_leaves() + 0.5) / whole.get_n_leaves()
    before, after = sklearn_trees.prune(whole, keep)
    assert (after, whole.get_n_leaves()) == (theirs.get_n_leaves(), theirs.get_n_leaves()) and after < before
    unseen = load_digits().data[1::2].astype(np.float32)
    assert np.array_equal(whole.predict_proba(unseen), theirs.predict_proba(unseen))


def test_one_alpha_is_put_to_all_trees_of_a_forest_and_the_bytes_go(tmp_path: Path) -> None:
    source = zoo.source("forest", tmp_path / "source")
    before = sum(t.tree_.n_leaves for t in sklearn_form.load(source).estimators_)
    result = PruneTree(keep=0.25).apply(source, tmp_path / "result", zoo.context(source))
    forest = sklearn_form.load(result)
    leaves = [t.tree_.n_leaves for t in forest.estimators_]
    assert 0.2 * before < sum(leaves) <= 0.25 * before and len(set(leaves)) > 1
    assert result.path.stat().st_size < 0.5 * source.path.stat().st_size
    features, labels = digits()
    assert forest.score(features, labels) > 0.9


def test_a_pruned_boosting_answers_with_means_of_what_it_had_and_still_converts(tmp_path: Path) -> None:
    features, labels = digits()
    (tmp_path / "source").mkdir()
    model = GradientBoostingClassifier(n_estimators=8, max_depth=4, random_state=0).fit(features, labels)
    source = sklearn_form.snapshot(model, tmp_path / "source")
    result = PruneTree(keep=0.5).apply(source, tmp_path / "result", zoo.context(source))
    assert sklearn_form.load(result).score(features, labels) > 0.9 * model.score(features, labels)
    conversion = plugins.load(Conversion, "sklearn_to_onnx")()
    conversion.convert(result, tmp_path / "onnx", zoo.context(source))  # it checks its own answers


def test_what_has_no_trees_is_refused_by_name(tmp_path: Path) -> None:
    source = zoo.source("logistic", tmp_path / "source")
    with pytest.raises(BuildError, match="prune_tree: LogisticRegression has no decision trees"):
        PruneTree().apply(source, tmp_path / "result", zoo.context(source))


@pytest.mark.parametrize(
    ("keep", "message"), [(1.0, "between 0 and 1, not 1"), (0.001, "fewer than 2 for each of its 20 trees")]
)
def test_knobs_out_of_range_are_refused(tmp_path: Path, keep: float, message: str) -> None:
    source = zoo.source("forest", tmp_path / "source")
    with pytest.raises(BuildError, match=message):
        PruneTree(keep=keep).apply(source, tmp_path / "result", zoo.context(source))


def test_it_is_not_proposed_for_a_network() -> None:
    assert "the original is a network" in PruneTree.propose(encoder_profile())
