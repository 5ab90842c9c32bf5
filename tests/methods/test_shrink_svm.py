"""A kernel machine with fewer support vectors answers as it did; what it cannot shrink it refuses by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.svm import SVC, SVR

from farthing.errors import BuildError
from farthing.forms import sklearn_form
from farthing.methods.shrink_svm import ShrinkSvm
from farthing.testing import zoo
from farthing.types import Dataset


def shrunk(model: object, tmp_path: Path, keep: float) -> object:
    (tmp_path / "source").mkdir()
    source = sklearn_form.snapshot(model, tmp_path / "source")
    return sklearn_form.load(ShrinkSvm(keep=keep).apply(source, tmp_path / "result", zoo.context(source)))


def test_a_quarter_of_the_vectors_says_nearly_the_same(tmp_path: Path) -> None:
    source = zoo.source("svm", tmp_path / "source")
    whole = sklearn_form.load(source)
    small = sklearn_form.load(ShrinkSvm(keep=0.25).apply(source, tmp_path / "result", zoo.context(source)))
    assert len(small.support_vectors_) <= round(0.25 * len(whole.support_vectors_))
    unseen = load_digits().data[1::2].astype(np.float32)
    assert (small.predict(unseen) == whole.predict(unseen)).mean() > 0.95


def test_two_classes_and_a_regression(tmp_path: Path) -> None:
    features, labels = load_digits(return_X_y=True)
    for number, model in enumerate(
        (SVC(random_state=0).fit(features[::2], labels[::2] > 4), SVR().fit(features[::2], labels[::2]))
    ):
        small = shrunk(model, tmp_path / str(number), 0.3) if (tmp_path / str(number)).mkdir() is None else None
        agree = np.corrcoef(small.predict(features[1::2]).astype(float), model.predict(features[1::2]).astype(float))[0, 1]
        assert agree > 0.9
        assert len(small.support_) <= round(0.3 * len(model.support_))


def test_what_is_no_kernel_machine_is_refused_by_name(tmp_path: Path) -> None:
    source = zoo.source("tree", tmp_path / "source")
    with pytest.raises(BuildError, match="shrink_svm: DecisionTreeClassifier"):
        ShrinkSvm().apply(source, tmp_path / "result", zoo.context(source))


def test_nan_is_named_by_its_item(tmp_path: Path) -> None:
    source = zoo.source("svm", tmp_path / "source")
    context = zoo.context(source)
    rows = np.array(context.train.columns[0])
    rows[7, 3] = np.nan
    with pytest.raises(BuildError, match="shrink_svm: column 3 of item 7 holds NaN"):
        ShrinkSvm().apply(source, tmp_path / "result", replace(context, train=Dataset(columns=(rows,))))


@pytest.mark.parametrize(("keep", "message"), [(1.0, "between 0 and 1, not 1"), (0.9999, "is all of them. Lower keep")])
def test_knobs_out_of_range_are_refused(tmp_path: Path, keep: float, message: str) -> None:
    source = zoo.source("svm", tmp_path / "source")
    with pytest.raises(BuildError, match=message):
        ShrinkSvm(keep=keep).apply(source, tmp_path / "result", zoo.context(source))
