"""Thin layers: exact where the layer has a low rank, or is only asked about few directions; refused where it has not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from farthing.errors import BuildError
from farthing.forms import thin_layers, torch_form
from farthing.methods.low_rank import LowRank
from farthing.testing import methods as laws
from farthing.testing.profiles import encoder_profile
from farthing.types import Pipeline

from .originals import context_for, conv_net, deep_classifier, weightless


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
    with pytest.raises(BuildError, match="no layer of DeepClassifier has a rank low enough to save products at energy"):
        LowRank(energy=1 - 1e-9).apply(source, tmp_path / "result", context_for(source))
    nothing = weightless(tmp_path / "nothing")
    with pytest.raises(BuildError, match="Weightless"):
        LowRank().apply(nothing, tmp_path / "result2", context_for(nothing))


def test_plain_svd_knows_nothing_of_the_data(tmp_path: Path) -> None:
    """Where few directions are asked about, whitening keeps them; the plain SVD keeps those of the weights."""
    source = deep_classifier(tmp_path / "source")
    mask = np.where(np.arange(12) < 3, 1.0, 0.01).astype(np.float32)
    context = context_for(source)
    seen = replace(context, calibration=tuple({"input": feeds["input"] * mask} for feeds in context.calibration))
    errors = {}
    for whiten in (True, False):
        result = LowRank(rank=3, whiten=whiten).apply(source, tmp_path / str(whiten), seen)
        before, after = (laws.answers(p, seen)[0] for p in (source, result))
        errors[whiten] = np.abs(after - before).mean()
        assert torch_form.load(result).stem[0].out_features == 3
    assert errors[True] < errors[False]


def of_thin_convolutions(directory: Path, way: str) -> Pipeline:
    """The second convolution has rank 3 by channel, or as a product of columns and rows."""
    source = conv_net(directory)
    module = torch_form.load(source)
    weight = module.body[4].weight
    by = (weight.flatten(1),) if way == "channel" else (weight.permute(1, 2, 0, 3).flatten(2).flatten(0, 1),)
    u, s, vt = torch.linalg.svd(by[0], full_matrices=False)
    s[3:] *= 1e-4
    thin = u * s @ vt
    weight.copy_(thin.view_as(weight) if way == "channel" else thin.view(16, 3, 32, 3).permute(2, 0, 1, 3))
    torch_form.save(module, source.directory)
    return source


@pytest.mark.parametrize(
    ("way", "shapes"),
    [("channel", [(3, 16, 3, 3), (32, 3, 1, 1)]), ("spatial", [(3, 16, 3, 1), (32, 3, 1, 3)])],
)
@pytest.mark.parametrize("whiten", [True, False])
def test_a_convolution_of_low_rank_is_split_and_answers_alike(
    tmp_path: Path, way: str, shapes: list[tuple[int, ...]], whiten: bool
) -> None:
    source = of_thin_convolutions(tmp_path / "source", way)
    method = LowRank(rank=3, whiten=whiten, convolution=way)
    result = method.apply(source, tmp_path / "result", context_for(source))
    module, original = torch_form.load(result), torch_form.load(source)
    assert [tuple(part.weight.shape) for part in module.body[4]] == shapes
    original.body[0], original.head = module.body[0], module.head  # whatever became of the other layers
    image = torch.from_numpy(context_for(source).calibration[0]["image"])
    assert float((module(image) - original(image)).abs().max()) < 1e-2 * float(original(image).abs().max())


@pytest.mark.parametrize("convolution", ["channel", "spatial"])
@pytest.mark.parametrize("how", [{"stride": 2, "padding": 1}, {"dilation": 2}, {"padding": "same", "padding_mode": "reflect"}])
def test_at_the_rank_of_the_layer_the_two_thin_convolutions_are_the_whole_one(convolution: str, how: dict[str, Any]) -> None:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        layer, image = torch.nn.Conv2d(4, 40, (3, 5), **how), torch.randn(2, 4, 16, 16)
        spatial = convolution == "spatial"
        by_channel, by_axis = ("or,rihw->oihw", [(40, 5), (5, 4, 3, 5)]), ("rih,row->oihw", [(5, 4, 3), (5, 40, 5)])
        equation, shapes = by_axis if spatial else by_channel
        layer.weight.copy_(torch.einsum(equation, *(torch.randn(shape) for shape in shapes)))
        thin = thin_layers.thin(layer, None, lambda _: 5, spatial=spatial)
        assert thin is not None and torch.allclose(thin(image), layer(image), atol=1e-3)


def test_convolutions_of_every_kind_keep_the_laws(tmp_path: Path) -> None:
    source = conv_net(tmp_path / "source")
    laws.check_apply(LowRank(rank=4, convolution="spatial"), source, tmp_path, context_for(source))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"rank": 33}, r"low_rank: rank 33 is above that of every layer; the highest, of layer body\.4, is 32"),
        ({"rank": -1}, "rank is 1 or more, or 0 to go by the energy, not -1"),
        ({"convolution": "fourier"}, "one of channel, spatial, not 'fourier'"),
    ],
)
def test_knobs_out_of_range_are_refused(tmp_path: Path, knobs: dict[str, Any], message: str) -> None:
    source = conv_net(tmp_path / "source")
    with pytest.raises(BuildError, match=message):
        LowRank(**knobs).apply(source, tmp_path / "result", context_for(source))


def test_nan_and_too_few_rows_are_named(tmp_path: Path) -> None:
    source = deep_classifier(tmp_path / "source")
    laws.check_needs_rows(LowRank(), source, tmp_path, context_for(source))
    laws.check_refuses_nan(LowRank(), source, tmp_path / "nan", context_for(source))


@pytest.mark.parametrize("energy", [0.0, 1.0])
def test_an_energy_out_of_range_is_refused(tmp_path: Path, energy: float) -> None:
    source = deep_classifier(tmp_path / "source")
    with pytest.raises(BuildError, match=f"between 0 and 1, not {energy:g}"):
        LowRank(energy=energy).apply(source, tmp_path / "result", context_for(source))


def test_it_is_proposed_where_there_is_something_to_learn_from() -> None:
    profile = replace(encoder_profile(), num_train=1000)
    mild, daring = LowRank.propose(profile)
    assert 1.05 < mild.predicted_speedup(profile) < daring.predicted_speedup(profile) < 3
    assert LowRank.propose(encoder_profile()) == (mild,)  # a repair without learning may do for it
