"""Channels taken out: the shapes shrink, in every coupled layer; the answer's own width and attention's heads stay."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farthing.errors import BuildError, DataError
from farthing.forms import torch_form
from farthing.methods.prune_channels import PruneChannels
from farthing.testing import methods as laws
from farthing.testing import samples, zoo
from farthing.testing.profiles import encoder_profile
from farthing.types import Dataset, Pipeline

from .originals import context_for, conv_net, deep_classifier, encoder, weightless


def test_an_encoder_loses_inner_neurons_and_keeps_its_heads(tmp_path: Path) -> None:
    source = encoder(tmp_path / "source")
    result = laws.check_apply(PruneChannels(ratio=0.5), source, tmp_path, context_for(source))
    for before, after in zip(torch_form.load(source).layer, torch_form.load(result).layer, strict=True):
        assert after.up.weight.shape == (before.up.weight.shape[0] // 2, before.up.weight.shape[1])
        assert after.down.weight.shape == (before.down.weight.shape[0], before.down.weight.shape[1] // 2)
        assert after.query.weight.shape == before.query.weight.shape
    assert result.path.stat().st_size < 0.8 * source.path.stat().st_size


def test_a_convolutional_net_loses_channels_on_both_sides_of_a_flatten(tmp_path: Path) -> None:
    source = conv_net(tmp_path / "source")
    result = laws.check_apply(PruneChannels(ratio=0.5), source, tmp_path, context_for(source))
    module = torch_form.load(result)
    assert (module.body[0].out_channels, module.body[1].num_features, module.body[4].in_channels) == (8, 8, 8)
    assert (module.body[4].out_channels, module.head.in_features) == (16, 16 * 16)
    assert module.head.out_features == 10


def test_channels_that_are_added_to_each_other_go_together(tmp_path: Path) -> None:
    source = samples.pipeline("cnn", tmp_path / "source")
    result = PruneChannels(ratio=0.5).apply(source, tmp_path / "result", samples.context(source))
    module = torch_form.load(result)
    assert module.stem.out_channels == module.second.out_channels == module.head.in_features == 4


def test_the_least_of_a_group_goes(tmp_path: Path) -> None:
    """In the first block, half of the inner neurons are made to weigh next to nothing: just these go."""
    source = deep_classifier(tmp_path / "source")
    module = torch_form.load(source)
    module.blocks[0].up.weight[:32] *= 1e-4
    module.blocks[0].down.weight[:, :32] *= 1e-4
    torch_form.save(module, source.directory)
    result = PruneChannels(ratio=0.5).apply(source, tmp_path / "result", context_for(source))
    left = torch_form.load(result).blocks[0].up.weight
    assert left.shape == (32, 8)  # the width that the blocks share is halved as well
    assert float(left.norm(dim=1).min()) > 0.1


def test_a_model_without_channels_is_refused_by_name(tmp_path: Path) -> None:
    source = weightless(tmp_path / "source")
    with pytest.raises(BuildError, match="no group of channels of Weightless"):
        PruneChannels().apply(source, tmp_path / "result", context_for(source))


def with_blind_neurons(directory: Path) -> Pipeline:
    """In the first block the last 32 inner neurons are zero on all data, although their weights are the largest."""
    source = deep_classifier(directory)
    module = torch_form.load(source)
    module.blocks[0].up.weight[32:] *= 1e-2
    module.blocks[0].up.bias[32:] = -9.0
    module.blocks[0].down.weight[:, 32:] *= 100.0
    torch_form.save(module, source.directory)
    return source


@pytest.mark.parametrize("importance", ["taylor", "activation"])
def test_what_the_data_never_uses_goes_first(tmp_path: Path, importance: str) -> None:
    source = with_blind_neurons(tmp_path / "source")
    context = context_for(source)
    kept = {}
    for way in (importance, "l2"):
        result = PruneChannels(ratio=0.5, importance=way).apply(source, tmp_path / way, context)
        kept[way] = float(torch_form.load(result).blocks[0].up.bias.min())
    assert kept[importance] > -1.0 and kept["l2"] == -9.0


@pytest.mark.parametrize("importance", ["l1", "l2", "taylor", "activation"])
def test_every_importance_treats_convolutions(tmp_path: Path, importance: str) -> None:
    source = zoo.source("cnn", tmp_path / "source")
    method = PruneChannels(ratio=0.5, importance=importance)
    result = laws.check_apply(method, source, tmp_path, zoo.context(source))
    assert torch_form.load(result).first.weight.shape == (8, 8, 3, 3)


def test_an_iterative_schedule_ends_at_the_same_shapes_and_nearer_to_the_original(tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    context = replace(zoo.context(source), train=zoo.dataset(source, 1500, 2))
    at_once = PruneChannels(ratio=0.75).apply(source, tmp_path / "once", context)
    step_by_step = PruneChannels(ratio=0.75, iterations=3).apply(source, tmp_path / "steps", context)
    again = PruneChannels(ratio=0.75, iterations=3).apply(source, tmp_path / "again", context)
    modules = [torch_form.load(p) for p in (at_once, step_by_step, again)]
    assert [[p.shape for p in m.parameters()] for m in modules[:2]] == [[p.shape for p in modules[0].parameters()]] * 2
    truth, once, steps, twice = (laws.answers(p, context)[0] for p in (source, at_once, step_by_step, again))
    assert np.array_equal(steps, twice)
    assert (steps.argmax(1) == truth.argmax(1)).mean() > (once.argmax(1) == truth.argmax(1)).mean()


def test_an_iterative_schedule_without_a_train_split_is_refused(tmp_path: Path) -> None:
    source = deep_classifier(tmp_path / "source")
    with pytest.raises(BuildError, match="prune_channels: it learns between cuts from the train split, which is empty"):
        PruneChannels(iterations=2).apply(source, tmp_path / "result", context_for(source))


def test_nan_and_too_few_calibration_rows_are_named(tmp_path: Path) -> None:
    source = deep_classifier(tmp_path / "source")
    laws.check_needs_rows(PruneChannels(importance="taylor"), source, tmp_path, context_for(source))
    laws.check_refuses_nan(PruneChannels(importance="taylor"), source, tmp_path / "nan", context_for(source))
    columns = (np.full((20, 12), np.nan, np.float32),)
    context = replace(context_for(source), calibrate=Dataset(columns=columns))
    with pytest.raises(DataError, match="item 0 of the calibrate split holds NaN"):
        PruneChannels(importance="activation").apply(source, tmp_path / "items", context)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"ratio": 1.0}, "between 0 and 1, not 1"),
        ({"importance": "l3"}, "one of l1, l2, taylor, activation, not 'l3'"),
        ({"iterations": 0}, "between 1 and 20, not 0"),
    ],
)
def test_knobs_out_of_range_are_refused(tmp_path: Path, knobs: dict[str, float], message: str) -> None:
    source = conv_net(tmp_path / "source")
    with pytest.raises(BuildError, match=message):
        PruneChannels(**knobs).apply(source, tmp_path / "result", context_for(source))


def test_it_is_proposed_where_there_is_something_to_learn_from() -> None:
    profile = replace(encoder_profile(), num_train=1000)
    speedups = [m.predicted_speedup(profile) for m in PruneChannels.propose(profile)]
    assert speedups == sorted(speedups) and 1.05 < speedups[0] < speedups[-1] < 2.5
    assert PruneChannels.propose(encoder_profile()) == (PruneChannels(ratio=0.25),)  # mild enough for a repair without learning
