"""power_of_two, ternary, binary: what is stored, what is refused, when they are proposed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from farthing.errors import BuildError, DataError
from farthing.forms import torch_form
from farthing.forms.log_inputs import LogInput
from farthing.methods.base import Method
from farthing.methods.binary import Binary
from farthing.methods.power_of_two import PowerOfTwo
from farthing.methods.ternary import Ternary
from farthing.testing import methods as laws
from farthing.testing import zoo
from farthing.testing.profiles import encoder_profile
from farthing.types import Context, Pipeline, TensorSpec

from .originals import context_for, conv_net, encoder


@pytest.mark.parametrize("make", [encoder, conv_net])
@pytest.mark.parametrize(("method", "bits"), [(PowerOfTwo(), 4), (Ternary(), 2), (Binary(), 1)], ids=str)
def test_what_is_stored_takes_so_many_bits(method: Method, bits: int, make: object, tmp_path: Path) -> None:
    source = make(tmp_path / "source")
    result = laws.check_apply(method, source, tmp_path, context_for(source))
    tensors = torch_form.load(result).tensors
    num_weights = sum(np.prod(t.shape) for t in tensors.values())
    assert num_weights * bits / 8 < sum(t.num_bytes for t in tensors.values()) < num_weights * (bits / 8 + 0.1)
    assert result.path.stat().st_size < (bits / 32 + 0.2) * source.path.stat().st_size


def rectified(directory: Path) -> tuple[Pipeline, Context]:
    """A network whose second and third layer see what a ReLU lets through, most of it small."""
    source = zoo.source("mlp", directory)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8))
    module[0].weight.data *= torch.logspace(-1.5, 0.5, 64)[:, None]
    inputs = (TensorSpec(name="input", dtype="float32", shape=("batch", 12)),)
    directory = directory / "rectified"
    directory.mkdir()
    changed = torch_form.snapshot(module, inputs, {"input": np.zeros((2, 12), np.float32)}, directory)
    return changed, zoo.context(source)


def test_inputs_that_are_skewed_and_never_negative_are_powers_too(tmp_path: Path) -> None:
    source, context = rectified(tmp_path / "source")
    result = laws.check_apply(PowerOfTwo(bits=6, activation_bits=4), source, tmp_path, context)
    packed = torch_form.load(result)
    assert [name for name, part in packed.module.named_modules() if isinstance(part, LogInput)] == ["2"]
    truth, plain, rounded = (
        laws.answers(p, context)[0]
        for p in (source, PowerOfTwo(bits=6).apply(source, tmp_path / "plain", context), result)
    )  # fmt: skip
    assert np.abs(rounded - truth).mean() < 3 * np.abs(plain - truth).mean()


def test_a_log_input_is_its_equation() -> None:
    layer = LogInput(nn.Identity(), 1, 2)  # 3 powers: 1/2, 1, 2
    x = torch.tensor([0.0, 0.1, 0.25, 0.6, 0.8, 1.5, 9.0])
    assert layer(x).tolist() == [0.0, 0.0, 0.5, 0.5, 1.0, 2.0, 2.0]


def test_without_such_inputs_it_says_so(tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    with pytest.raises(BuildError, match="power_of_two: no layer of Sequential has inputs that are never negative"):
        PowerOfTwo(activation_bits=4).apply(source, tmp_path / "result", zoo.context(source))


def test_too_few_rows_and_nan_are_refused_where_activations_are_rounded(tmp_path: Path) -> None:
    source, context = rectified(tmp_path / "source")
    with pytest.raises(BuildError, match=r"power_of_two: .* has 3"):
        PowerOfTwo(activation_bits=4).apply(source, tmp_path / "few", replace(context, calibration=context.calibration[:3]))
    spoiled = {"input": np.full_like(context.calibration[0]["input"], np.nan)}
    with pytest.raises(DataError, match="input 'input' of calibration batch 0 holds NaN"):
        PowerOfTwo(activation_bits=4).apply(
            source, tmp_path / "nan", replace(context, calibration=(spoiled, *context.calibration))
        )


@pytest.mark.parametrize("method", [PowerOfTwo(), Ternary(), Binary()], ids=str)
def test_weights_that_are_nan_are_named(method: Method, tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    module = torch_form.load(source)
    module[2].weight.data[3, 4] = float("nan")
    torch_form.save(module, source.directory)
    name = type(method).__module__.rpartition(".")[2]
    with pytest.raises(BuildError, match=rf"{name}: 2\.weight holds NaN or infinity"):
        method.apply(source, tmp_path / "result", zoo.context(source))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"bits": 0}, "power_of_two: bits lie between 2 and 6, not 0"),
        ({"bits": 9}, "power_of_two: bits lie between 2 and 6, not 9"),
        ({"activation_bits": 1}, "power_of_two: activation_bits lie between 2 and 6, not 1"),
    ],
)
def test_knobs_out_of_range_are_refused(knobs: dict[str, int], message: str, tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    with pytest.raises(BuildError, match=message):
        PowerOfTwo(**knobs).apply(source, tmp_path / "result", zoo.context(source))


@pytest.mark.parametrize("kind", [Ternary, Binary])
def test_the_most_sensitive_layers_keep_their_weights(kind: type[Ternary] | type[Binary], tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    context = replace(zoo.context(source), sensitivities=(("4", 0.9), ("2", 0.1)))
    packed = torch_form.load(kind(keep_float=1).apply(source, tmp_path / "result", context))
    assert sorted(packed.tensors) == ["0.weight", "2.weight", "6.weight"]


def test_when_they_are_proposed() -> None:
    limited = replace(encoder_profile(), bytes_are_limited=True)
    assert "sets no limit" in PowerOfTwo.propose(encoder_profile())
    assert PowerOfTwo.propose(limited) == (PowerOfTwo(bits=4),)
    assert "qat with grid = ternary" in Ternary.propose(limited)
    assert "qat with grid = binary" in Binary.propose(limited)
