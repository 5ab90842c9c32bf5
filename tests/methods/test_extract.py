"""An answer read off an early block: the later blocks are gone, a head has learned to stand for them, every runtime runs it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.methods.extract import Extract
from farthing.testing import methods as laws
from farthing.testing import zoo
from farthing.testing.profiles import encoder_profile
from farthing.types import Context, Dataset, Pipeline

from .originals import context_for, cosine, deep_encoder, rows


def unseen(source: Pipeline, context: Context) -> Context:
    fresh = zoo.dataset(source, 200, 77)
    from farthing.pipeline import feeds_of

    return replace(context, calibration=tuple(feeds_of(source, fresh.requests, 1)))


@pytest.mark.parametrize("depth", [0.0, 0.5])
def test_a_head_on_an_early_block_answers_mostly_as_the_original(depth: float, tmp_path: Path) -> None:
    source = zoo.source("encoder", tmp_path / "source")
    context = zoo.context(source)
    result = laws.check_apply(Extract(depth=depth), source, tmp_path, context)
    truth, got = (laws.answers(p, unseen(source, context))[0].argmax(1) for p in (source, result))
    chance = np.bincount(truth).max() / len(truth)
    assert (truth == got).mean() > chance + 0.1
    module = torch_form.load(result)
    assert len(module.module.blocks) == 4 * depth + 1  # and the stop
    assert result.path.stat().st_size < (0.35 if depth == 0 else 0.8) * source.path.stat().st_size


def test_an_embedding_is_learned_by_ridge_regression(tmp_path: Path) -> None:
    source = deep_encoder(tmp_path / "source")
    columns = rows(source, 400)
    context = replace(context_for(source), original=source, train=Dataset(columns=columns))
    result = Extract(depth=0.75, components=64).apply(source, tmp_path / "result", context)
    assert cosine(laws.answers(source, context), laws.answers(result, context)) > 0.8


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_it_converts(form: str, tmp_path: Path) -> None:
    source = zoo.source("encoder", tmp_path / "source")
    context = zoo.context(source)
    result = Extract(depth=0.5).apply(source, tmp_path / "result", context)
    plugins.load(Conversion, f"torch_to_{form}")().convert(result, tmp_path / form, context)  # it checks its own answers


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"depth": 1.0}, "extract: depth is a share of the blocks from 0 to less than 1, not 1"),
        ({"components": 0}, "extract: components lie between 1 and 256, not 0"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs: dict[str, float], message: str, tmp_path: Path) -> None:
    source = zoo.source("encoder", tmp_path / "source")
    with pytest.raises(BuildError, match=message):
        Extract(**knobs).apply(source, tmp_path / "result", zoo.context(source))


def test_without_blocks_or_a_train_split_it_says_so(tmp_path: Path) -> None:
    source = zoo.source("recommender", tmp_path / "source")
    with pytest.raises(BuildError, match="extract: Recommender has no list of three or more like blocks"):
        Extract().apply(source, tmp_path / "result", zoo.context(source))
    encoder = zoo.source("encoder", tmp_path / "encoder")
    with pytest.raises(BuildError, match="extract: it learns from the train split, which is empty"):
        Extract().apply(encoder, tmp_path / "result", replace(zoo.context(encoder), train=Dataset(columns=())))


def test_it_is_proposed_from_deep_to_shallow_where_there_is_something_to_learn_from() -> None:
    profile = replace(encoder_profile(), num_train=1000)
    speedups = [m.predicted_speedup(profile) for m in Extract.propose(profile)]
    assert speedups == sorted(speedups) and 1.5 < speedups[0] < speedups[-1] < 25
    assert "train split, which has 0" in Extract.propose(encoder_profile())
