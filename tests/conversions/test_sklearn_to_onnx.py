"""Estimators that skl2onnx cannot convert are named."""

from pathlib import Path

import pytest

from farthing.conversions.sklearn_to_onnx import SklearnToOnnx
from farthing.errors import BuildError
from farthing.forms import sklearn_form
from farthing.testing import samples
from farthing.types import Context

from .conftest import Made


def test_histogram_boosting_is_refused(made: Made, tmp_path: Path) -> None:
    source = made("hist", "sklearn")
    with pytest.raises(BuildError, match=r"skl2onnx cannot convert HistGradientBoostingClassifier.*Keep the runtime sklearn"):
        SklearnToOnnx().convert(source, tmp_path / "result", samples.context(source))


def test_texts_stay_with_sklearn(tmp_path: Path) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["a good day", "a bad day"], [1, 0])
    (tmp_path / "source").mkdir()
    source = sklearn_form.snapshot(model, tmp_path / "source")
    assert source.inputs[0].dtype == "str"
    with pytest.raises(BuildError, match="reads texts"):
        SklearnToOnnx().convert(source, tmp_path / "result", Context(calibration=()))


@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("make", ["SVC", "RidgeClassifier"])
def test_scores_come_as_scikit_learn_gives_them(make: str, num_classes: int, tmp_path: Path) -> None:
    """No probabilities: two columns where there are two classes. The conversion checks its own answers."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import RidgeClassifier
    from sklearn.svm import SVC

    features, digits = load_digits(return_X_y=True)
    model = {"SVC": SVC, "RidgeClassifier": RidgeClassifier}[make]().fit(features[:400], digits[:400] % num_classes)
    (tmp_path / "source").mkdir()
    source = sklearn_form.snapshot(model, tmp_path / "source")
    batches = tuple({"X": features[i : i + 2].astype("float32")} for i in range(0, 24, 2))
    result = SklearnToOnnx().convert(source, tmp_path / "result", Context(calibration=batches))
    assert [(spec.name, spec.shape) for spec in result.outputs] == [("scores", ("batch", num_classes))]
