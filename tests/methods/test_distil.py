"""What was cut is learned back from the original's answers: the student comes nearer to them, on items it never saw."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farthing.errors import BuildError
from farthing.methods.distil import Distil
from farthing.methods.layer_drop import LayerDrop
from farthing.testing import methods as laws
from farthing.types import Context, Dataset, Pipeline

from .originals import context_for, cosine, deep_classifier, deep_encoder, rows


def cut(original: Pipeline, tmp_path: Path) -> Pipeline:
    return LayerDrop(keep=0.5).apply(original, tmp_path / "cut", context_for(original))


def learning(original: Pipeline, labels: np.ndarray | None = None, n: int = 400) -> Context:
    columns = rows(original, n)
    return replace(context_for(original), original=original, train=Dataset(columns=columns, labels=labels))


def test_a_cut_encoder_comes_nearer_to_the_original(tmp_path: Path) -> None:
    original = deep_encoder(tmp_path / "original")
    student = cut(original, tmp_path)
    result = laws.check_apply(Distil(epochs=3, learning_rate=1e-3), student, tmp_path, learning(original))
    assert result.traits == {"float_weights", "distilled"}
    truth, before, after = (laws.answers(p, context_for(original)) for p in (original, student, result))
    assert 1 - cosine(truth, after) < 0.6 * (1 - cosine(truth, before))


def test_a_cut_classifier_answers_more_as_the_original_does(tmp_path: Path) -> None:
    original = deep_classifier(tmp_path / "original")
    context = learning(original)
    labels = laws.answers(original, replace(context, calibration=({"input": np.stack(context.train.columns[0])},)))[0].argmax(1)
    student = cut(original, tmp_path)
    result = Distil(epochs=6, learning_rate=3e-3).apply(student, tmp_path / "result", learning(original, labels))
    unseen = replace(context, calibration=({"input": np.stack(rows(original, 500, seed=9)[0])},))
    truth, before, after = (laws.answers(p, unseen)[0].argmax(1) for p in (original, student, result))
    assert (after == truth).mean() > (before == truth).mean() + 0.02


def test_without_a_train_split_it_says_so(tmp_path: Path) -> None:
    original = deep_encoder(tmp_path / "original")
    with pytest.raises(BuildError, match="train split, which is empty"):
        Distil().apply(cut(original, tmp_path), tmp_path / "result", context_for(original))
