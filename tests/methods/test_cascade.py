"""A cascade answers as its dear model does where its cheap one is unsure, and takes its threshold from the calibrate split."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from farthing import pipeline as pipelines
from farthing import plugins
from farthing.errors import BuildError
from farthing.forms import cascade_form, torch_form
from farthing.methods.base import Method
from farthing.methods.cascade import Cascade, _threshold
from farthing.runtimes.base import Runtime
from farthing.testing import methods as laws
from farthing.testing import zoo
from farthing.transform import apply
from farthing.types import Build, Context, MemberRef, Pipeline

EAGER = MemberRef(name="torch_eager")
DEAR = Build(recipe=(), runtime=MemberRef(name="onnxruntime"))
CHEAP = Build(recipe=(MemberRef(name="layer_drop", knobs=(("keep", 0.75),)),), runtime=EAGER)


@pytest.fixture
def case(tmp_path: Path) -> tuple[Pipeline, Context]:
    """An encoder whose last block hardly matters."""
    source = zoo.source("encoder", tmp_path / "source")
    module = torch_form.load(source)
    for linear in (module.blocks[3].out, module.blocks[3].down):
        linear.weight.data *= 0.3
    torch_form.save(module, source.directory)
    return source, zoo.context(source)


def made(case: tuple[Pipeline, Context], tmp_path: Path, **knobs: object) -> Pipeline:
    method = Cascade(cheap=CHEAP, dear=DEAR, **knobs)
    build = Build(recipe=(plugins.ref(method),), runtime=MemberRef(name="cascade"))
    return apply(case[0], build, tmp_path / "made", case[1])


def scores(pipeline: Pipeline, runtime: str, case: tuple[Pipeline, Context]) -> np.ndarray:
    session = plugins.load(Runtime, runtime)().open(pipeline, threads=1, streams=1)
    return np.concatenate([session.run(f)[0] for f in pipelines.feeds_of(pipeline, case[1].calibrate.requests, 1)])


def test_unsure_rows_are_the_dear_models_and_the_rest_the_cheap_ones(case: tuple[Pipeline, Context], tmp_path: Path) -> None:
    result = made(case, tmp_path, agreement=0.95)
    settings = cascade_form.read(result.path)
    cheap, dear = (pipelines.read(result.directory / name) for name in (cascade_form.CHEAP, cascade_form.DEAR))
    of_cheap, of_dear = scores(cheap, "torch_eager", case), scores(dear, "onnxruntime", case)
    together = scores(result, "cascade", case)
    unsure = cascade_form.margins(of_cheap) < settings.threshold
    assert unsure.mean() == pytest.approx(settings.asked) and 0.0 < settings.asked < 0.8
    assert np.allclose(together, np.where(unsure[:, None], of_dear, of_cheap), atol=1e-5)
    assert (together.argmax(1) == of_dear.argmax(1)).mean() >= 0.95
    assert cascade_form.ITEM_DEPENDENT in result.traits and result.form == "cascade"


def test_the_threshold_is_the_least_that_agrees_often_enough() -> None:
    """Margins 1..10; the cheap model is wrong at 2, 5 and 9: one wrong answer of ten may stay, two may not."""
    margin = np.arange(1.0, 11.0)
    cheap, dear = np.stack([margin, np.zeros(10)], 1), np.stack([margin, np.zeros(10)], 1)
    dear[[1, 4, 8]] = dear[[1, 4, 8], ::-1]
    threshold, asked = _threshold(cheap, dear, agreement=0.9)
    assert (cascade_form.margins(cheap) < threshold).tolist() == [True] * 5 + [False] * 5
    assert asked == 0.5
    threshold, asked = _threshold(cheap, dear, agreement=0.7)
    assert asked == 0.0


def test_a_cheap_model_that_is_hardly_ever_right_is_refused() -> None:
    draw = np.random.default_rng(0)
    with pytest.raises(BuildError, match=r"cascade: to agree on 99.00% of the items the dear model has to answer 9\d%"):
        _threshold(draw.random((200, 5)), draw.random((200, 5)), 0.99)


def test_answers_that_are_no_classes_are_refused() -> None:
    with pytest.raises(BuildError, match="cascade: it needs scores of two or more classes"):
        _threshold(np.zeros((60, 1)), np.zeros((60, 1)), 0.99)


def test_too_few_items_to_take_a_threshold_from(case: tuple[Pipeline, Context], tmp_path: Path) -> None:
    few = replace(case[1], calibrate=case[1].calibrate.take(np.arange(20)))
    with pytest.raises(BuildError, match="at least 50 single items of the calibrate split, which has 20"):
        made((case[0], few), tmp_path)


@pytest.mark.parametrize("agreement", [0.0, 1.0])
def test_agreement_is_a_share(case: tuple[Pipeline, Context], tmp_path: Path, agreement: float) -> None:
    with pytest.raises(BuildError, match="cascade: agreement is a share between 0 and 1"):
        made(case, tmp_path, agreement=agreement)


def test_the_source_stays_as_it_is_and_the_same_comes_out_twice(case: tuple[Pipeline, Context], tmp_path: Path) -> None:
    source, context = case
    build = Build(recipe=(plugins.ref(Cascade(cheap=CHEAP, dear=DEAR, agreement=0.95)),), runtime=MemberRef(name="cascade"))
    first, second = (apply(source, build, tmp_path / name, context) for name in ("a", "b"))
    assert cascade_form.read(first.path) == cascade_form.read(second.path)
    assert np.array_equal(scores(first, "cascade", case), scores(second, "cascade", case))
    assert torch.equal(*(torch_form.load(source).head.weight for _ in range(2)))


def test_left_out_of_a_recipe_its_dear_model_remains() -> None:
    method: Method = Cascade(cheap=CHEAP, dear=DEAR)
    assert method.fallback == DEAR
    assert laws.plugins.make(Method, plugins.ref(method)) == method
