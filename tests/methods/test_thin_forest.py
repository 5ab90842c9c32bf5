"""Fewer trees: those that together answer most like the whole forest; of a boosting, its first stages."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import GradientBoostingClassifier

from farthing.errors import BuildError
from farthing.forms import sklearn_form
from farthing.methods.thin_forest import ThinForest, _order
from farthing.testing import zoo
from farthing.testing.profiles import encoder_profile


def unseen() -> np.ndarray:
    return load_digits().data[1::2].astype(np.float32)


def test_the_chosen_trees_are_nearer_to_the_forest_than_its_first_ones(tmp_path: Path) -> None:
    source = zoo.source("forest", tmp_path / "source")
    whole = sklearn_form.load(source)
    result = ThinForest(keep=0.25).apply(source, tmp_path / "result", zoo.context(source))
    thin = sklearn_form.load(result)
    assert len(thin.estimators_) == thin.n_estimators == 5
    expected = whole.predict_proba(unseen())
    first = np.mean([tree.predict_proba(unseen()) for tree in whole.estimators_[:5]], axis=0)
    assert np.square(thin.predict_proba(unseen()) - expected).mean() < np.square(first - expected).mean()
    assert result.path.stat().st_size < 0.4 * source.path.stat().st_size


def test_the_order_is_greedy_least_squares() -> None:
    answers = np.random.default_rng(0).random((6, 40))
    whole, chosen = answers.mean(axis=0), list[int]()
    for _ in range(4):
        errors = {t: np.square(answers[[*chosen, t]].mean(axis=0) - whole).sum() for t in range(6) if t not in chosen}
        chosen.append(min(errors, key=errors.__getitem__))
    assert _order(answers, 4) == chosen


def test_of_a_boosting_the_first_stages_stay(tmp_path: Path) -> None:
    features, labels = load_digits(return_X_y=True)
    model = GradientBoostingClassifier(n_estimators=8, max_depth=2, random_state=0).fit(features[::2], labels[::2])
    (tmp_path / "source").mkdir()
    source = sklearn_form.snapshot(model, tmp_path / "source")
    result = ThinForest(keep=0.5).apply(source, tmp_path / "result", zoo.context(source))
    staged = list(model.staged_predict_proba(unseen()))
    assert np.allclose(sklearn_form.load(result).predict_proba(unseen()), staged[3])


def test_what_has_no_trees_is_refused_by_name(tmp_path: Path) -> None:
    source = zoo.source("kmeans", tmp_path / "source")
    with pytest.raises(BuildError, match="thin_forest: KMeans is no random forest"):
        ThinForest().apply(source, tmp_path / "result", zoo.context(source))


@pytest.mark.parametrize(("keep", "message"), [(0.0, "between 0 and 1, not 0"), (0.99, "is all of them. Lower keep")])
def test_knobs_out_of_range_are_refused(tmp_path: Path, keep: float, message: str) -> None:
    source = zoo.source("forest", tmp_path / "source")
    with pytest.raises(BuildError, match=message):
        ThinForest(keep=keep).apply(source, tmp_path / "result", zoo.context(source))


def test_it_is_not_proposed_for_a_network() -> None:
    assert "the original is a network" in ThinForest.propose(encoder_profile())
