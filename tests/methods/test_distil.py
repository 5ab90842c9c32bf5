"""What was cut is learned back from the original's answers: the student comes nearer to them, on items it never saw."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.methods.distil import Distil
from farthing.methods.layer_drop import LayerDrop
from farthing.methods.prune_channels import PruneChannels
from farthing.testing import methods as laws
from farthing.testing import zoo
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


WAYS = [{"divergence": way} for way in ("forward", "reverse")] + [
    {"hidden": 1.0},
    {"attention": 1.0},
    {"divergence": "forward", "hidden": 0.5},
]


@pytest.mark.parametrize("knobs", WAYS, ids=str)
def test_every_way_to_compare_teaches_a_cut_encoder(knobs: dict[str, object], tmp_path: Path) -> None:
    """Without labels, so that nothing but the original is learned from; a cut of three of four blocks hurts."""
    original = zoo.source("encoder", tmp_path / "original")
    module = torch_form.load(original)
    module.head.weight.data *= 4.0  # answers that are worth telling apart
    torch_form.save(module, original.directory)
    context = zoo.context(original)
    context = replace(context, train=replace(context.train, labels=None))
    student = LayerDrop(keep=0.25).apply(original, tmp_path / "cut", context)
    if "divergence" not in knobs:
        knobs = knobs | {"divergence": "forward"}
    result = Distil(epochs=6, learning_rate=2e-3, **knobs).apply(student, tmp_path / "result", context)
    truth, before, after = (softmax(laws.answers(p, context)[0], axis=1) for p in (original, student, result))
    assert np.square(after - truth).mean() < 0.8 * np.square(before - truth).mean()


def test_convolutional_maps_are_matched_too(tmp_path: Path) -> None:
    original = zoo.source("cnn", tmp_path / "original")
    context = zoo.context(original)
    student = PruneChannels(ratio=0.5).apply(original, tmp_path / "cut", context)
    result = Distil(epochs=3, learning_rate=2e-3, hidden=1.0, attention=1.0).apply(student, tmp_path / "result", context)
    assert sum(p.numel() for p in torch_form.load(result).parameters()) == sum(
        p.numel() for p in torch_form.load(student).parameters()
    )  # the projections are thrown away


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"divergence": "sideways"}, "distil: divergence is one of soft, forward, reverse, not 'sideways'"),
        ({"temperature": 0.0}, "distil: the temperature is a number above 0, not 0"),
        ({"soft": 2.0}, "distil: soft, the weight of the original's answers, lies between 0 and 1, not 2"),
        ({"hidden": -1.0}, "distil: hidden and attention are weights of 0 or more"),
        ({"num_items": 0}, "distil: num_items is how much of the train split"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs: dict[str, object], message: str, tmp_path: Path) -> None:
    original = zoo.source("encoder", tmp_path / "original")
    with pytest.raises(BuildError, match=message):
        Distil(**knobs).apply(original, tmp_path / "result", zoo.context(original))


def test_labels_of_other_classes_are_named(tmp_path: Path) -> None:
    original = zoo.source("encoder", tmp_path / "original")
    context = zoo.context(original)
    strange = replace(context.train, labels=context.train.labels + 3)
    with pytest.raises(BuildError, match=r"distil: the train split has labels from 3 to .*, and the original answers"):
        Distil().apply(original, tmp_path / "result", replace(context, train=strange))


def test_an_original_of_other_classes_is_refused(tmp_path: Path) -> None:
    student, other = zoo.source("encoder", tmp_path / "student"), zoo.source("decoder", tmp_path / "other")
    context = replace(zoo.context(student), original=other)
    with pytest.raises(BuildError, match="distil: the student answers 5 classes or values, the original 64"):
        Distil().apply(student, tmp_path / "result", context)
