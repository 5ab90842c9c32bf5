"""Thin layers: exact where the layer has a low rank, or is only asked about few directions; refused where it has not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.methods.low_rank import LowRank
from farthing.testing import methods as laws
from farthing.testing.profiles import encoder_profile
from farthing.types import Pipeline

from .originals import context_for, deep_classifier, weightless


def of_rank(directory: Path, rank: int) -> Pipeline:
    """The up-projections of the classifier's blocks have this rank, but for a little noise."""
    source = deep_classifier(directory)
    module = torch_form.load(source)
    for block in module.blocks:
        u, s, vt = torch.linalg.svd(block.up.weight, full_matrices=False)
        s[rank:] *= 1e-3
        block.up.weight.copy_(u * s @ vt)
    torch_form.save(module, source.directory)
    return source


def test_a_layer_of_low_rank_is_split_at_that_rank_and_answers_alike(tmp_path: Path) -> None:
    source = of_rank(tmp_path / "source", rank=4)
    result = laws.check_apply(LowRank(energy=0.999), source, tmp_path, context_for(source))
    down, up = torch_form.load(result).blocks[0].up
    assert (down.weight.shape, up.weight.shape) == ((4, 16), (64, 4))
    before, after = (laws.answers(p, context_for(source))[0] for p in (source, result))
    assert np.abs(after - before).max() < 0.02 * np.abs(before).max()


def test_directions_that_are_never_asked_about_cost_nothing(tmp_path: Path) -> None:
    """A stem of full rank, of whose 12 inputs only 3 are ever other than zero on the calibration data."""
    source = deep_classifier(tmp_path / "source")
    mask = (np.arange(12) < 3).astype(np.float32)
    context = context_for(source)
    seen = tuple({"input": feeds["input"] * mask} for feeds in context.calibration)
    result = LowRank(energy=0.999).apply(source, tmp_path / "result", replace(context, calibration=seen))
    down, _ = torch_form.load(result).stem
    assert down.out_features == 3
    kept = replace(context, calibration=seen)
    before, after = (laws.answers(p, kept)[0] for p in (source, result))
    assert np.abs(after - before).max() < 0.1 * np.abs(before).max()


def test_a_model_of_full_rank_is_refused(tmp_path: Path) -> None:
    source = deep_classifier(tmp_path / "source")
    with pytest.raises(BuildError, match="no linear layer of DeepClassifier has a rank low enough at energy"):
        LowRank(energy=1 - 1e-9).apply(source, tmp_path / "result", context_for(source))
    nothing = weightless(tmp_path / "nothing")
    with pytest.raises(BuildError, match="Weightless"):
        LowRank().apply(nothing, tmp_path / "result2", context_for(nothing))


@pytest.mark.parametrize("energy", [0.0, 1.0])
def test_an_energy_out_of_range_is_refused(tmp_path: Path, energy: float) -> None:
    source = deep_classifier(tmp_path / "source")
    with pytest.raises(BuildError, match=f"between 0 and 1, not {energy:g}"):
        LowRank(energy=energy).apply(source, tmp_path / "result", context_for(source))


def test_it_is_proposed_where_there_is_something_to_learn_from() -> None:
    profile = replace(encoder_profile(), num_train=1000)
    mild, daring = LowRank.propose(profile)
    assert 1.05 < mild.predicted_speedup(profile) < daring.predicted_speedup(profile) < 3
    assert "train split, which has 0" in LowRank.propose(encoder_profile())
