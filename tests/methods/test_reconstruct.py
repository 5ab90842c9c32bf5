"""Least squares instead of training: nearer to the original on items never seen, exact where the cut lost nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from farthing.errors import BuildError
from farthing.forms import least_squares, torch_form
from farthing.methods.base import Method
from farthing.methods.low_rank import LowRank
from farthing.methods.prune_channels import PruneChannels
from farthing.methods.prune_heads import PruneHeads
from farthing.methods.reconstruct import Reconstruct
from farthing.testing import methods as laws
from farthing.testing import samples, zoo
from farthing.testing.profiles import encoder_profile
from farthing.types import Array, Context, Pipeline

from .originals import context_for, deep_classifier

CUTS = {
    "mlp": PruneChannels(ratio=0.25),
    "cnn": PruneChannels(ratio=0.5),
    "encoder": PruneChannels(ratio=0.25),
    "decoder": PruneHeads(ratio=0.25),
}


def off(pipeline: Pipeline, original: Pipeline, context: Context) -> float:
    """||z - z_original|| / ||z_original||"""
    ours, theirs = (laws.answers(p, context)[0] for p in (pipeline, original))
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def unseen(original: Pipeline, context: Context) -> Context:
    from farthing.pipeline import feeds_of

    return replace(context, calibration=tuple(feeds_of(original, zoo.dataset(original, 200, 77).requests, 1)))


@pytest.mark.parametrize("model", CUTS)
def test_what_was_cut_comes_nearer_to_the_original_on_items_never_seen(tmp_path: Path, model: str) -> None:
    original = zoo.source(model, tmp_path / "original")
    context = zoo.context(original)
    cut = CUTS[model].apply(original, tmp_path / "cut", context)
    result = laws.check_apply(Reconstruct(), cut, tmp_path, context)
    assert result.traits == {"float_weights", "reconstructed"}
    fresh = unseen(original, context)
    assert off(result, original, fresh) < 0.85 * off(cut, original, fresh)


def test_heads_of_a_bert(tmp_path: Path) -> None:
    original = samples.pipeline("encoder", tmp_path / "original")
    context = replace(samples.context(original), original=original)
    cut = PruneHeads(ratio=0.5).apply(original, tmp_path / "cut", context)
    result = Reconstruct().apply(cut, tmp_path / "result", context)
    assert off(result, original, context) < 0.5 * off(cut, original, context)


def test_a_channel_that_is_a_copy_of_another_is_not_missed(tmp_path: Path) -> None:
    """Half of the inner neurons are the other half again: without them the layer that reads them can answer the same."""
    original = deep_classifier(tmp_path / "original")
    module = torch_form.load(original)
    for block in module.blocks:
        block.up.weight[32:], block.up.bias[32:] = 0.5 * block.up.weight[:32], 0.5 * block.up.bias[:32]
        block.down.weight[:, 32:] *= 0.1  # so that the copies go, not what they copy
    torch_form.save(module, original.directory)
    for block in module.blocks:
        block.up.weight.data, block.up.bias.data = block.up.weight[:32], block.up.bias[:32]
        block.down.weight.data = block.down.weight[:, :32]
        block.up.out_features = block.down.in_features = 32
    cut = torch_form.derive(module, original, tmp_path / "cut", original.traits | {"cut"})
    context = replace(context_for(original, 100), original=original)
    result = Reconstruct(ridge=1e-6).apply(cut, tmp_path / "result", context)
    assert off(cut, original, context) > 0.01 and off(result, original, context) < 1e-3


def test_the_outputs_that_are_left_are_found_again_by_their_weights() -> None:
    torch.manual_seed(0)
    whole, cut = nn.Conv2d(6, 8, 3), nn.Conv2d(4, 3, 3)
    cut.weight.data = whole.weight.data[[1, 4, 7]][:, [0, 2, 3, 5]]
    target = least_squares.targets(nn.ModuleDict({"a": cut}), nn.ModuleDict({"a": whole}))["a"]
    assert target.kept.tolist() == [1, 4, 7]
    cut.weight.data += 1e-3
    assert not least_squares.targets(nn.ModuleDict({"a": cut}), nn.ModuleDict({"a": whole}))


def test_a_layer_that_was_split_in_two_is_solved_in_its_second(tmp_path: Path) -> None:
    original = zoo.source("mlp", tmp_path / "original")
    context = zoo.context(original)
    cut = LowRank(energy=0.7).apply(original, tmp_path / "cut", context)
    result = Reconstruct().apply(cut, tmp_path / "result", context)
    assert off(result, original, context) < off(cut, original, context)


def test_what_was_not_cut_is_refused_by_name(tmp_path: Path) -> None:
    original = deep_classifier(tmp_path / "original")
    context = replace(context_for(original), original=original)
    with pytest.raises(BuildError, match="reconstruct: no layer of DeepClassifier reads fewer channels"):
        Reconstruct().apply(original, tmp_path / "result", context)
    with pytest.raises(BuildError, match=r"reconstruct: .* there is no original"):
        Reconstruct().apply(original, tmp_path / "result", context_for(original))


def test_few_rows_nan_and_a_ridge_of_zero_are_refused(tmp_path: Path) -> None:
    original = deep_classifier(tmp_path / "original")
    context = replace(context_for(original), original=original)
    cut = PruneChannels().apply(original, tmp_path / "cut", context)
    laws.check_needs_rows(Reconstruct(), cut, tmp_path, context)
    laws.check_refuses_nan(Reconstruct(), cut, tmp_path / "nan", context)
    with pytest.raises(BuildError, match="reconstruct: ridge is a number above 0, not 0"):
        Reconstruct(ridge=0.0).apply(cut, tmp_path / "result", context)


def test_with_few_rows_a_strong_ridge_keeps_the_weights_of_the_cut(tmp_path: Path) -> None:
    original = deep_classifier(tmp_path / "original")
    context = replace(context_for(original, 4), original=original)
    cut = PruneChannels().apply(original, tmp_path / "cut", context)
    near = Reconstruct(ridge=1e6).apply(cut, tmp_path / "near", context)

    def weights(pipeline: Pipeline) -> Array:
        return np.concatenate([m.weight.numpy().ravel() for m in torch_form.load(pipeline).modules() if hasattr(m, "weight")])

    assert np.abs(weights(near) - weights(cut)).max() < 1e-4


def test_it_is_proposed_only_where_nothing_can_be_learned() -> None:
    assert Reconstruct.propose(encoder_profile()) == (Reconstruct(),)
    assert "there is a train split" in Reconstruct.propose(replace(encoder_profile(), num_train=1000))
    assert Reconstruct().predicted_speedup(encoder_profile()) == 1.0
    assert isinstance(Reconstruct(), Method)
