"""qat: what learns with its rounding comes nearer to the original than what is rounded; bad input is named."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.methods.base import Method
from farthing.methods.binary import Binary
from farthing.methods.linear_bits import LinearBits
from farthing.methods.power_of_two import PowerOfTwo
from farthing.methods.qat import Qat
from farthing.methods.ternary import Ternary
from farthing.testing import methods as laws
from farthing.testing import zoo
from farthing.testing.profiles import encoder_profile
from farthing.training import distances
from farthing.types import Context, Pipeline


def unlabelled(directory: Path) -> tuple[Pipeline, Context]:
    """An MLP whose answers alone are learned from."""
    source = zoo.source("mlp", directory)
    context = zoo.context(source)
    return source, replace(context, train=replace(context.train, labels=None))


def answers(pipeline: Pipeline, context: Context) -> np.ndarray:
    return laws.answers(pipeline, context)[0]


@pytest.mark.parametrize(
    ("knobs", "rounding"),
    [
        ({"bits": 2}, LinearBits(bits=2)),
        ({"grid": "power_of_two", "bits": 2}, PowerOfTwo(bits=2)),
        ({"grid": "ternary"}, Ternary()),
        ({"grid": "binary"}, Binary()),
    ],
    ids=str,
)
def test_it_comes_nearer_than_rounding_alone_on_items_it_never_saw(
    knobs: dict[str, object], rounding: Method, tmp_path: Path
) -> None:
    source, context = unlabelled(tmp_path / "source")
    learned = Qat(epochs=6, learning_rate=2e-3, **knobs).apply(source, tmp_path / "learned", context)
    plain = rounding.apply(source, tmp_path / "plain", context)
    truth, after, before = (answers(p, context) for p in (source, learned, plain))
    assert np.square(after - truth).mean() < 0.4 * np.square(before - truth).mean()
    assert learned.path.stat().st_size == pytest.approx(plain.path.stat().st_size, rel=0.02)


def test_batch_norm_and_convolutions_learn_too(tmp_path: Path) -> None:
    source = zoo.source("cnn", tmp_path / "source")
    learned = torch_form.load(Qat(bits=3).apply(source, tmp_path / "learned", zoo.context(source)))
    assert sorted(learned.tensors) == ["first.weight", "second.weight"]  # the others are small
    assert all(tensor.bits == 3 for tensor in learned.tensors.values())


def test_layers_that_are_kept_stay_in_float(tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    context = replace(zoo.context(source), sensitivities=(("4", 0.9),))
    learned = torch_form.load(Qat(keep_float=1, epochs=1).apply(source, tmp_path / "learned", context))
    assert sorted(learned.tensors) == ["0.weight", "2.weight", "6.weight"]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"bits": 0}, "qat: bits lie between 2 and 8, not 0"),
        ({"bits": 9}, "qat: bits lie between 2 and 8, not 9"),
        ({"bits": 8, "grid": "power_of_two"}, "qat: bits lie between 2 and 6, not 8"),
        ({"grid": "odd"}, "qat: grid is one of linear, power_of_two, ternary, binary, not 'odd'"),
        ({"num_items": 0}, "qat: num_items is how much of the train split"),
        ({"num_items": 12}, "qat: training takes at least 20 items; there are 12"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs: dict[str, object], message: str, tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    with pytest.raises(BuildError, match=message):
        Qat(**knobs).apply(source, tmp_path / "result", zoo.context(source))


def test_without_a_train_split_it_says_so(tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    with pytest.raises(BuildError, match="qat: it learns from the train split, which is empty"):
        Qat().apply(source, tmp_path / "result", Context(calibration=(), original=source))


def test_nan_in_weights_and_in_the_train_split_is_named(tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    context = zoo.context(source)
    column = context.train.columns[0].copy()
    column[7, 3] = np.nan
    with pytest.raises(BuildError, match="qat: the original answers NaN or infinity to item 7"):
        Qat().apply(source, tmp_path / "data", replace(context, train=replace(context.train, columns=(column,))))
    module = torch_form.load(source)
    module[0].weight.data[0, 0] = float("inf")
    torch_form.save(module, source.directory)
    with pytest.raises(BuildError, match=r"qat: 0\.weight holds NaN or infinity"):
        Qat().apply(source, tmp_path / "weights", context)


def test_what_diverges_later_keeps_the_last_good_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, context = unlabelled(tmp_path / "source")
    plain = distances.Likeness.to
    num_losses = 0

    def spoiled(self: distances.Likeness, known: torch.Tensor, labels: object) -> distances.Distance:
        distance = plain(self, known, labels)

        def loss(got: torch.Tensor, items: np.ndarray) -> torch.Tensor:
            nonlocal num_losses
            num_losses += 1
            return distance(got, items) * (1.0 if num_losses <= 12 else math.nan)  # 7 steps and 1 look an epoch

        return loss

    monkeypatch.setattr(distances.Likeness, "to", spoiled)
    kept = Qat(epochs=4).apply(source, tmp_path / "kept", context)
    assert num_losses == 13  # it ended in its second epoch
    truth, after = answers(source, context), answers(kept, context)
    assert np.isfinite(after).all() and np.square(after - truth).mean() < 0.5 * truth.var()


def test_when_it_is_proposed() -> None:
    profile = replace(encoder_profile(), num_train=5000)
    assert "sets no limit" in Qat.propose(profile)
    limited = replace(profile, bytes_are_limited=True)
    assert [m.bits for m in Qat.propose(limited)] == [4, 2]
    assert "at least" in Qat.propose(replace(limited, num_train=10))
