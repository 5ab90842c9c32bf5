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
