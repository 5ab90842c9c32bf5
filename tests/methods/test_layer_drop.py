"""Blocks taken out: fewer of them, the least needed first, and refused by name where there is no stack."""

from dataclasses import replace
from pathlib import Path

import pytest

from farthing.diagnosis import diagnose
from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.methods.layer_drop import LayerDrop
from farthing.testing import methods as laws
from farthing.testing.profiles import encoder_profile

from .originals import context_for, conv_net, cosine, deep_encoder, rows


def test_the_laws_hold_and_the_blocks_are_gone(tmp_path: Path) -> None:
    source = deep_encoder(tmp_path / "source")
    result = laws.check_apply(LayerDrop(keep=0.5), source, tmp_path, context_for(source))
    assert len(torch_form.load(result).layer) == 2
    assert result.traits == {"float_weights", "cut"}
    assert result.path.stat().st_size < 0.7 * source.path.stat().st_size


def test_the_blocks_that_change_the_answers_least_go(tmp_path: Path) -> None:
    """Block 1 is made to do next to nothing: it goes first."""
    source = deep_encoder(tmp_path / "source")
    module = torch_form.load(source)
    for linear in (module.layer[1].out, module.layer[1].down):
        linear.weight.mul_(1e-3)
        linear.bias.mul_(1e-3)
    torch_form.save(module, source.directory)
    result = LayerDrop(keep=0.75).apply(source, tmp_path / "result", context_for(source))
    left = torch_form.load(result).layer
    for block, i in zip(left, (0, 2, 3), strict=True):
        assert bool((block.up.weight == module.layer[i].up.weight).all())
    assert cosine(laws.answers(source, context_for(source)), laws.answers(result, context_for(source))) > 0.999


@pytest.mark.parametrize("keep", [0.0, 1.0, 1.5])
def test_a_share_that_is_none_is_refused(tmp_path: Path, keep: float) -> None:
    source = deep_encoder(tmp_path / "source")
    with pytest.raises(BuildError, match=f"between 0 and 1, not {keep:g}"):
        LayerDrop(keep=keep).apply(source, tmp_path / "result", context_for(source))


def test_a_share_that_keeps_all_is_refused(tmp_path: Path) -> None:
    source = deep_encoder(tmp_path / "source")
    with pytest.raises(BuildError, match="of the 4 blocks of layer is all of them"):
        LayerDrop(keep=0.95).apply(source, tmp_path / "result", context_for(source))


def test_a_model_without_a_stack_is_refused_by_name(tmp_path: Path) -> None:
    source = conv_net(tmp_path / "source")
    with pytest.raises(BuildError, match="ConvNet has no list of 3 or more blocks of one class"):
        LayerDrop().apply(source, tmp_path / "result", context_for(source))


def test_it_is_proposed_where_blocks_take_the_time_and_there_is_something_to_learn_from() -> None:
    layers = tuple((f"encoder.layer.{i}.{name}", 0.1) for i in range(6) for name in ("query", "up", "down"))
    profile = replace(encoder_profile(), num_train=1000, sensitivities=(*layers, ("head", 0.1)))
    mild, middle, daring = LayerDrop.propose(profile)
    assert [m.keep for m in (mild, middle, daring)] == [0.667, 0.5, 0.333]
    assert 1.2 < mild.predicted_speedup(profile) < middle.predicted_speedup(profile) < daring.predicted_speedup(profile) < 3
    assert "train split, which has 0" in LayerDrop.propose(encoder_profile())
    assert "no stack" in LayerDrop.propose(replace(profile, sensitivities=layers[:6]))


def test_it_is_proposed_for_a_real_encoder_from_its_real_diagnosis(tmp_path: Path) -> None:
    source = deep_encoder(tmp_path / "source")
    requests = list(zip(*rows(source, 40), strict=True))
    profile = diagnose(source, requests, encoder_profile().device, calibration=context_for(source).calibration)
    assert [m.keep for m in LayerDrop.propose(replace(profile, num_train=1000))] == [0.75, 0.5, 0.25]
