"""Estimators in skops files and pickles: what may be opened, and what their answers are."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.base import BaseEstimator

from farthing.model_sources.sklearn import Sklearn
from farthing.testing import samples
from farthing.testing.model_sources import check_refuses, check_runs_as_described, feeds_for, native_session


def sample(directory: Path) -> Sklearn:
    skops.io.dump(samples.estimator("forest"), directory / "forest.skops")
    return Sklearn(path=directory / "forest.skops")


class Doubled(BaseEstimator):
    """A type that scikit-learn does not have."""

    n_features_in_ = 2

    def predict(self, features: np.ndarray) -> np.ndarray:
        return features.sum(1) * 2


@pytest.mark.parametrize(
    ("name", "output", "shape"),
    [
        ("forest", "probabilities", ("batch", 10)),
        ("logistic", "probabilities", ("batch", 10)),
        ("hist", "probabilities", ("batch", 10)),
        ("ridge", "variable", ("batch",)),
    ],
)
def test_answers(name: str, output: str, shape: tuple[object, ...], tmp_path: Path) -> None:
    pipeline = samples.pipeline(name, tmp_path / "model")
    assert [(spec.name, spec.shape, spec.dtype) for spec in pipeline.outputs] == [(output, shape, "float32")]
    assert not pipeline.pickled
    check_runs_as_described(pipeline)


def test_two_classes_without_probabilities_have_two_scores(tmp_path: Path) -> None:
    from sklearn.svm import LinearSVC

    features = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    model = LinearSVC().fit(features, features[:, 0] > 0)
    skops.io.dump(model, tmp_path / "svc.skops")
    (tmp_path / "model").mkdir()
    pipeline = Sklearn(path=tmp_path / "svc.skops").snapshot(tmp_path / "model", trust=False)
    scores = native_session(pipeline).run({"X": features})[0]
    assert np.array_equal(scores.argmax(1).astype(bool), model.predict(features))


def test_foreign_types_need_trust(tmp_path: Path) -> None:
    skops.io.dump(Doubled(), tmp_path / "foreign.skops")
    source = Sklearn(path=tmp_path / "foreign.skops")
    check_refuses(source, tmp_path / "untrusted", "types outside scikit-learn", "Doubled", "trust = true")
    (tmp_path / "trusted").mkdir()
    pipeline = source.snapshot(tmp_path / "trusted", trust=True)
    assert pipeline.pickled, "whoever opens it must be asked for trust again"
    feeds = feeds_for(pipeline)
    np.testing.assert_allclose(native_session(pipeline).run(feeds)[0], 2 * feeds["X"].sum(1), rtol=1e-6)


def test_pickles_need_trust(tmp_path: Path) -> None:
    path = tmp_path / "ridge.pkl"
    path.write_bytes(pickle.dumps(samples.estimator("ridge")))
    check_refuses(Sklearn(path=path), tmp_path / "untrusted", "runs the code it holds", "skops.io.dump", "trust = true")
    (tmp_path / "trusted").mkdir()
    check_runs_as_described(Sklearn(path=path).snapshot(tmp_path / "trusted", trust=True))


def test_files_that_hold_no_estimator_are_named(tmp_path: Path) -> None:
    check_refuses(Sklearn(path=tmp_path / "gone.skops"), tmp_path / "one", "no model at", "gone.skops")
    (tmp_path / "broken.skops").write_bytes(b"PK nothing")
    check_refuses(Sklearn(path=tmp_path / "broken.skops"), tmp_path / "two", "not a readable skops file")
    (tmp_path / "graph.onnx").write_bytes(b"")
    check_refuses(Sklearn(path=tmp_path / "graph.onnx"), tmp_path / "three", "source = 'onnx'")
    (tmp_path / "broken.pkl").write_bytes(b"nothing")
    check_refuses(Sklearn(path=tmp_path / "broken.pkl"), tmp_path / "four", "cannot be unpickled", trust=True)


def test_an_unfitted_estimator_is_named(tmp_path: Path) -> None:
    from sklearn.linear_model import Ridge

    skops.io.dump(Ridge(), tmp_path / "raw.skops")
    check_refuses(Sklearn(path=tmp_path / "raw.skops"), tmp_path / "model", "Ridge does not run")
