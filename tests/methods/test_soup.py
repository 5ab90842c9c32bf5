"""Several students of one cut model, merged: nearer to the original than the cut was; what does not help is left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.methods.layer_drop import LayerDrop
from farthing.methods.soup import Soup, _greedy, averaged
from farthing.testing import methods as laws
from farthing.types import Context, Dataset, Pipeline

from .originals import context_for, deep_classifier, rows


@pytest.fixture
def original(tmp_path: Path) -> Pipeline:
    return deep_classifier(tmp_path / "original")


def cut(original: Pipeline, tmp_path: Path) -> Pipeline:
    return LayerDrop(keep=0.5).apply(original, tmp_path / "cut", context_for(original))


def learning(original: Pipeline, n: int = 400) -> Context:
    return replace(context_for(original), original=original, train=Dataset(columns=rows(original, n)))


@pytest.mark.parametrize("merge", ["greedy", "uniform", "ensemble"])
def test_it_comes_nearer_to_the_original(merge: str, original: Pipeline, tmp_path: Path) -> None:
    student = cut(original, tmp_path)
    method = Soup(num_models=2, merge=merge, epochs=4, learning_rate=3e-3)
    result = laws.check_apply(method, student, tmp_path, learning(original))
    assert result.traits == {"float_weights", "distilled"}
    truth, before, after = (laws.answers(p, context_for(original))[0] for p in (original, student, result))
    assert np.square(after - truth).mean() < 0.5 * np.square(before - truth).mean()


def test_an_average_is_of_weights_and_counts_are_the_firsts() -> None:
    models = [nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval() for _ in range(3)]
    for number, model in enumerate(models):
        model[1].num_batches_tracked.fill_(number + 5)
        model[1].running_var.fill_(float(number))
    mean = averaged(models)
    assert torch.allclose(mean[0].weight, sum(m[0].weight for m in models) / 3)
    assert mean[1].running_var.tolist() == [1.0, 1.0] and int(mean[1].num_batches_tracked) == 5
    assert not any(torch.equal(mean[0].weight, m[0].weight) for m in models)


def test_greedy_leaves_out_what_makes_the_average_worse() -> None:
    def at(value: float) -> nn.Module:
        module = nn.Linear(1, 1, bias=False).requires_grad_(False)
        module.weight.data.fill_(value)
        return module

    best = _greedy([at(9.0), at(1.2), at(0.9)], lambda module: abs(float(module.weight) - 1.0))
    assert float(best.weight) == pytest.approx(1.05)


def test_what_was_killed_goes_on_and_gives_the_same(original: Pipeline, tmp_path: Path) -> None:
    student, method = cut(original, tmp_path), Soup(num_models=2, epochs=1)
    context = replace(learning(original), checkpoints=tmp_path / "kept")
    first = method.apply(student, tmp_path / "first", context)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["model0", "model1"]
    again = method.apply(student, tmp_path / "again", context)
    assert (first.directory / first.file).read_bytes() == (again.directory / again.file).read_bytes()


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"num_models": 1}, "it averages 2 to 10 models, not 1"),
        ({"merge": "all"}, "merge is one of greedy, uniform, ensemble, not 'all'"),
        ({"num_items": 0}, "at least 1, not 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(knobs, says, original: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=f"^soup: .*{says}"):
        Soup(**knobs).apply(cut(original, tmp_path), tmp_path / "result", learning(original))


def test_no_train_split_too_few_rows_and_a_teacher_of_other_classes_are_refused(original: Pipeline, tmp_path: Path) -> None:
    student = cut(original, tmp_path)
    with pytest.raises(BuildError, match=r"^soup: it learns from the train split, which is empty"):
        Soup().apply(student, tmp_path / "result", context_for(original))
    with pytest.raises(BuildError, match=r"^soup: training takes at least 20 items; there are 11"):
        Soup().apply(student, tmp_path / "result", learning(original, 12))
    module = torch_form.load(original)
    module.head = nn.Linear(16, 7)
    (tmp_path / "other").mkdir()
    other = torch_form.snapshot(module, original.inputs, {"input": np.zeros((2, 12), np.float32)}, tmp_path / "other")
    with pytest.raises(BuildError, match=r"^soup: the student answers 5 classes or values, the original 7"):
        Soup().apply(student, tmp_path / "result", replace(learning(original), original=other))


def test_nan_in_what_is_learned_from_is_refused(original: Pipeline, tmp_path: Path) -> None:
    context = learning(original)
    (column,) = context.train.columns
    spoiled = [*column[:3], np.full_like(column[3], np.nan), *column[4:]]
    with pytest.raises(BuildError, match=r"^soup: the original answers NaN or infinity to item 3"):
        Soup().apply(cut(original, tmp_path), tmp_path / "result", replace(context, train=Dataset(columns=(spoiled,))))
