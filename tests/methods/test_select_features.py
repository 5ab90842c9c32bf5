"""Features held at a value: the rebuilt estimator is the old one with them held, exactly, and no longer looks at them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.errors import BuildError
from farthing.forms import sklearn_features, sklearn_form, sklearn_parts
from farthing.methods.select_features import SelectFeatures
from farthing.testing import zoo
from farthing.types import Context, Dataset

FEATURES, LABELS = load_digits(return_X_y=True)
FEATURES = FEATURES.astype(np.float32)
MODELS = {
    "ridge": lambda: Ridge(),
    "scaled": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
    "regressor": lambda: RandomForestRegressor(5, max_depth=6, random_state=0),
    "gradient": lambda: GradientBoostingClassifier(n_estimators=4, max_depth=3, random_state=0),
    "histogram": lambda: HistGradientBoostingClassifier(max_iter=3, random_state=0),
}


def snapshotted(model: Any, directory: Path) -> Any:
    directory.mkdir()
    return sklearn_form.snapshot(model.fit(FEATURES[::2], LABELS[::2]), directory)


def context(n: int = 300) -> Context:
    return Context(calibration=(), train=Dataset(columns=(FEATURES[:n],), labels=LABELS[:n]))


@pytest.mark.parametrize("name", MODELS)
def test_what_is_dropped_has_no_effect_any_more_and_the_rest_is_as_it_was(name: str, tmp_path: Path) -> None:
    source = snapshotted(MODELS[name](), tmp_path / "source")
    result = SelectFeatures(keep=0.4).apply(source, tmp_path / "result", context())
    before, after = sklearn_form.load(source), sklearn_form.load(result)
    unseen = FEATURES[1::2][:200]
    noise = np.random.default_rng(0).uniform(0, 16, unseen.shape).astype(np.float32)
    idle = [j for j in range(64) if np.array_equal(_answer(after, unseen), _answer(after, _with(unseen, j, noise[:, j])))]
    assert len(idle) >= round(0.6 * 64)
    kept = [j for j in range(64) if j not in idle]
    moved = [j for j in kept if not np.array_equal(_answer(before, unseen), _answer(before, _with(unseen, j, noise[:, j])))]
    assert moved == kept, "it looks at nothing that it did not look at before"
    apart = [np.square(_answer(model, unseen) - _answer(before, unseen)).mean() for model in (after,)]
    assert apart[0] < 0.5 * _answer(before, unseen).var()


@pytest.mark.parametrize("name", ["scaled", "regressor", "gradient"])
def test_it_still_converts_to_onnx(name: str, tmp_path: Path) -> None:
    source = snapshotted(MODELS[name](), tmp_path / "source")
    result = SelectFeatures(keep=0.4).apply(source, tmp_path / "result", context())
    feeds = tuple({"X": FEATURES[i : i + 2]} for i in range(0, 24, 2))
    conversion = plugins.load(Conversion, "sklearn_to_onnx")()  # type: ignore[type-abstract]
    conversion.convert(result, tmp_path / "onnx", Context(calibration=feeds))  # it checks its own answers


def test_held_features_are_held_at_their_values() -> None:
    for model in (make() for make in MODELS.values()):
        model.fit(FEATURES[::2], LABELS[::2])
        final = sklearn_parts.final(model)
        shown = np.asarray(sklearn_parts.before_final(model, FEATURES[1::2]), np.float32)
        held = {j: float(np.quantile(shown[:, j], 0.7)) for j in range(10, 40)}
        fixed = shown.copy()
        fixed[:, list(held)] = list(held.values())
        wanted = _answer(final, fixed)
        got = _answer(sklearn_features.hold(final, held), shown)
        assert np.allclose(got, wanted, rtol=1e-5, atol=1e-5), type(final).__name__


def test_trees_get_smaller(tmp_path: Path) -> None:
    source = zoo.source("forest", tmp_path / "source")
    result = SelectFeatures(keep=0.3).apply(source, tmp_path / "result", zoo.context(source))
    sizes = [sum(t.tree_.node_count for t in sklearn_form.load(p).estimators_) for p in (source, result)]
    assert sizes[1] < 0.8 * sizes[0]
    assert result.path.stat().st_size < 0.85 * source.path.stat().st_size


@pytest.mark.parametrize("model", [KMeans(10, n_init=1, random_state=0), SVC()], ids=lambda m: type(m).__name__)
def test_what_cannot_do_without_features_is_refused_by_name(model: Any, tmp_path: Path) -> None:
    source = snapshotted(model, tmp_path / "source")
    with pytest.raises(BuildError, match=f"^select_features: {type(model).__name__} is no linear model"):
        SelectFeatures().apply(source, tmp_path / "result", context())


def test_bad_input_is_refused(tmp_path: Path) -> None:
    source = snapshotted(Ridge(), tmp_path / "source")
    for keep in (0.0, 1.0):
        with pytest.raises(BuildError, match=rf"^select_features: .* between 0 and 1, not {keep:g}"):
            SelectFeatures(keep=keep).apply(source, tmp_path / "result", context())
    with pytest.raises(BuildError, match=r"^select_features: 0.999 of the \d+ features that Ridge looks at is all"):
        SelectFeatures(keep=0.999).apply(source, tmp_path / "result", context())
    with pytest.raises(BuildError, match=r"^select_features: it looks at 8 rows or more, and its split has 3"):
        SelectFeatures().apply(source, tmp_path / "result", context(3))
    spoiled = FEATURES[:50].copy()
    spoiled[4, 7] = np.nan
    with pytest.raises(BuildError, match=r"^select_features: column 7 of item 4 holds NaN"):
        SelectFeatures().apply(
            source, tmp_path / "result", replace(context(), train=Dataset(columns=(spoiled,), labels=LABELS[:50]))
        )


def _answer(model: Any, rows: np.ndarray) -> np.ndarray:
    return sklearn_parts.answers(model, rows)


def _with(rows: np.ndarray, column: int, values: np.ndarray) -> np.ndarray:
    changed = rows.copy()
    changed[:, column] = values
    return changed
