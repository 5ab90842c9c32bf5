"""Coded weights: the same numbers in fewer bytes; what is damaged or has nothing to give is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from farthing import pipeline as pipelines
from farthing.conversions.torch_to_onnx import TorchToOnnx
from farthing.errors import BuildError, ModelError, RecipeError
from farthing.forms import torch_form
from farthing.methods.code_weights import CodeWeights
from farthing.methods.linear_bits import LinearBits
from farthing.methods.prune_weights import PruneWeights
from farthing.methods.share_weights import ShareWeights
from farthing.testing import methods as laws
from farthing.transform import check
from farthing.types import Build, MemberRef, Pipeline

from .originals import context_for, conv_net, encoder


def shared(source: Pipeline, directory: Path) -> Pipeline:
    pruned = PruneWeights(sparsity=0.9, epochs=0).apply(source, directory / "pruned", context_for(source))
    return ShareWeights(clusters=16, epochs=0).apply(pruned, directory / "shared", context_for(source))


@pytest.mark.parametrize("make", [conv_net, encoder])
def test_pruned_and_shared_weights_are_stored_in_a_fraction_and_answer_the_same(make, tmp_path: Path) -> None:
    source = make(tmp_path / "source")
    packed = shared(source, tmp_path)
    result = laws.check_apply(CodeWeights(), packed, tmp_path, context_for(source))
    before, after = (laws.answers(p, context_for(source))[0] for p in (packed, result))
    assert (before == after).all()
    sizes = [p.path.stat().st_size for p in (source, packed, result)]
    assert sizes[2] < 0.5 * sizes[1] < 0.2 * sizes[0], sizes


def test_a_tenth_of_the_weights_takes_less_than_a_bit_each(tmp_path: Path) -> None:
    packed = shared(encoder(tmp_path / "source"), tmp_path)
    module = torch_form.load(CodeWeights().apply(packed, tmp_path / "result", context_for(packed)))
    count = sum(module.module.get_parameter(name).numel() for name in module.tensors)
    assert 8 * len(module.stream) < 0.95 * count  # entropy of one in ten, and four bits for each of those: 0.87


def test_weights_in_four_bits_lose_their_slack_and_nothing_else(tmp_path: Path) -> None:
    source = encoder(tmp_path / "source")
    packed = LinearBits(bits=4).apply(source, tmp_path / "packed", context_for(source))
    result = CodeWeights().apply(packed, tmp_path / "result", context_for(source))
    assert (laws.answers(packed, context_for(source))[0] == laws.answers(result, context_for(source))[0]).all()
    assert result.path.stat().st_size < packed.path.stat().st_size


def test_a_coded_model_can_be_opened_saved_and_opened_again(tmp_path: Path) -> None:
    packed = shared(conv_net(tmp_path / "source"), tmp_path)
    result = CodeWeights().apply(packed, tmp_path / "result", context_for(packed))
    torch_form.save(torch_form.load(result), result.directory)
    again = torch_form.load(result)
    for name, tensor in torch_form.load(packed).tensors.items():
        assert torch.equal(again.module.get_parameter(name), tensor.decode())


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_damaged_file_is_refused_by_its_checksum(place: float, tmp_path: Path) -> None:
    packed = shared(conv_net(tmp_path / "source"), tmp_path)
    result = CodeWeights().apply(packed, tmp_path / "result", context_for(packed))
    spoiled = bytearray(result.path.read_bytes())
    spoiled[int(place * len(spoiled))] ^= 1
    result.path.write_bytes(spoiled)
    with pytest.raises(ModelError, match="damaged: the checksum differs"):
        torch_form.load(result)


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    packed = shared(conv_net(tmp_path / "source"), tmp_path)
    result = CodeWeights().apply(packed, tmp_path / "result", context_for(packed))
    result.path.write_bytes(result.path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be unpickled here"):
        torch_form.load(result)


def test_floats_are_refused_and_so_is_what_is_coded_already(tmp_path: Path) -> None:
    source = conv_net(tmp_path / "source")
    with pytest.raises(BuildError, match="code_weights: the weights of ConvNet are floats of many values"):
        CodeWeights().apply(source, tmp_path / "result", context_for(source))
    coded = CodeWeights().apply(shared(source, tmp_path), tmp_path / "coded", context_for(source))
    with pytest.raises(BuildError, match=r"code_weights: .* leave nothing to save"):
        CodeWeights().apply(coded, tmp_path / "again", context_for(source))


def test_a_conversion_would_undo_it_so_that_no_plan_leads_there(tmp_path: Path) -> None:
    recipe = (MemberRef(name="share_weights", knobs=(("epochs", 0),)), MemberRef(name="code_weights"))
    traits = frozenset({"float_weights"})
    assert len(check("torch", traits, Build(recipe=recipe, runtime=MemberRef(name="torch_eager")))) == 2
    with pytest.raises(RecipeError, match="no conversion leads there from torch with coded"):
        check("torch", traits, Build(recipe=recipe, runtime=MemberRef(name="onnxruntime")))


def test_converted_by_hand_it_gives_the_same_answers_in_the_bytes_of_floats(tmp_path: Path) -> None:
    source = conv_net(tmp_path / "source")
    result = CodeWeights().apply(shared(source, tmp_path), tmp_path / "result", context_for(source))
    converted = TorchToOnnx().convert(result, tmp_path / "onnx", context_for(source))  # checks its outputs
    assert converted.path.stat().st_size > 0.9 * source.path.stat().st_size


def test_a_copy_elsewhere_needs_nothing_but_the_file(tmp_path: Path) -> None:
    packed = shared(conv_net(tmp_path / "source"), tmp_path)
    result = CodeWeights().apply(packed, tmp_path / "result", context_for(packed))
    shutil.copytree(result.directory, tmp_path / "copy")
    shutil.rmtree(result.directory)
    copied = replace(pipelines.read(tmp_path / "copy"), directory=tmp_path / "copy")
    assert torch_form.load(copied).tensors
