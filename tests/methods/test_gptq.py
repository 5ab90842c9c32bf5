"""Rounding whose errors are made good: nearer to the layer's answers than rounding alone, on inputs that are correlated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from farthing.errors import BuildError, DataError
from farthing.forms import grouped, torch_form
from farthing.methods.awq import Awq
from farthing.methods.gptq import Gptq
from farthing.methods.hqq import Hqq
from farthing.methods.linear_bits import LinearBits
from farthing.testing import methods as laws
from farthing.testing import zoo
from farthing.testing.profiles import encoder_profile

from .originals import context_for, encoder


def layer() -> tuple[torch.Tensor, torch.Tensor]:
    """A weight (48, 128), and inputs (600, 128) of which each is much like its neighbours."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.linalg.matrix_power(torch.eye(128) * 0.5 + torch.diag(torch.full((127,), 0.5), 1), 8)
    return torch.randn(48, 128, generator=generator), torch.randn(600, 128, generator=generator) @ mixing


def nearest(bits: int) -> LinearBits:
    return LinearBits(bits=bits, symmetric=False, granularity="group", range="min_max")


def plain(weight: torch.Tensor, bits: int) -> torch.Tensor:
    grouped_weight = weight.unflatten(1, (-1, 64))
    scale, zero = grouped.grid(grouped_weight, bits)
    return grouped.packed(grouped.codes(grouped_weight, scale, zero, bits), scale, zero, bits).decode()


@pytest.mark.parametrize("bits", [3, 4])
@pytest.mark.parametrize("act_order", [True, False])
def test_a_layer_answers_nearer_than_by_rounding(bits: int, act_order: bool) -> None:
    weight, x = layer()
    rounded = Gptq(bits=bits, act_order=act_order).rounded(weight, (x.T @ x / len(x)).double()).decode()
    error, of_rounding = ((x @ (w - weight).T).square().sum() for w in (rounded, plain(weight, bits)))
    assert error < 0.6 * of_rounding


def test_with_inputs_that_have_nothing_in_common_it_is_rounding() -> None:
    weight, _ = layer()
    rounded = Gptq(act_order=False).rounded(weight, torch.eye(128, dtype=torch.float64)).decode()
    assert torch.equal(rounded, plain(weight, 4))


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    weight, x = layer()
    x[:, 5] = 0.0
    rounded = Gptq().rounded(weight, (x.T @ x / len(x)).double()).decode()
    assert torch.isfinite(rounded).all()


@pytest.mark.parametrize("method", [nearest(4), Hqq(), Gptq()], ids=str)
def test_an_encoder_is_stored_in_four_bits_a_weight(method: LinearBits | Hqq | Gptq, tmp_path: Path) -> None:
    source = encoder(tmp_path / "source")
    result = laws.check_apply(method, source, tmp_path, context_for(source))
    packed = torch_form.load(result)
    num_weights = sum(np.prod(t.shape) for t in packed.tensors.values())
    num_bytes = sum(t.num_bytes for t in packed.tensors.values())
    assert num_weights / 2 < num_bytes < 0.8 * num_weights  # half a byte each, and two floats for each group
    assert "packed" in result.traits and "float_weights" not in result.traits
    assert result.path.stat().st_size < 0.4 * source.path.stat().st_size


def test_more_bits_are_nearer_and_gptq_is_nearer_than_rounding(tmp_path: Path) -> None:
    source = encoder(tmp_path / "source")
    context = context_for(source)
    truth = laws.answers(source, context)[0]

    def error(method: LinearBits | Gptq, name: str) -> float:
        return float(np.square(laws.answers(method.apply(source, tmp_path / name, context), context)[0] - truth).mean())

    of_rounding = [error(nearest(bits), f"rounded{bits}") for bits in (8, 4, 3)]
    assert of_rounding == sorted(of_rounding)
    assert error(Gptq(bits=3), "gptq") < 0.8 * of_rounding[2]


def test_hqq_lowers_the_mean_error_of_heavy_tailed_weights() -> None:
    weight = torch.from_numpy(np.random.default_rng(0).standard_t(2.0, (32, 4, 64)).astype(np.float32))
    scale, zero = grouped.grid(weight, 3)

    def error(offset: torch.Tensor) -> float:
        codes = grouped.codes(weight, scale, offset, 3)
        return float((weight.flatten(1) - grouped.packed(codes, scale, offset, 3).decode()).abs().mean())

    assert error(Hqq(bits=3)._zero(weight, scale, zero)) < 0.985 * error(zero)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Gptq(bits=0), "gptq: bits are one of 2, 3, 4, 8, not 0"),
        (Hqq(group_size=1), "hqq: a group has at least 8 inputs, not 1"),
        (Hqq(norm=1.0), "hqq: the norm lies between 0 and 1, not 1"),
        (Gptq(damping=0.0), "gptq: damping is a share between 0 and 1, not 0"),
    ],
    ids=str,
)
def test_knobs_out_of_range_are_refused(method: LinearBits | Hqq | Gptq, message: str, tmp_path: Path) -> None:
    source = encoder(tmp_path / "source")
    with pytest.raises(BuildError, match=message):
        method.apply(source, tmp_path / "result", context_for(source))


def test_too_few_rows_and_nan_are_refused(tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    context = zoo.context(source)
    with pytest.raises(BuildError, match=r"gptq .* has 3"):
        Gptq().apply(source, tmp_path / "few", replace(context, calibration=context.calibration[:3]))
    spoiled = {"input": np.full_like(context.calibration[0]["input"], np.nan)}
    with pytest.raises(DataError, match="input 'input' of calibration batch 0 holds NaN"):
        Gptq().apply(source, tmp_path / "nan", replace(context, calibration=(spoiled, *context.calibration)))


def test_without_linear_layers_it_is_refused_by_name(tmp_path: Path) -> None:
    source = zoo.source("cnn", tmp_path / "source")
    with pytest.raises(BuildError, match="gptq: Residual has no linear layer"):
        Gptq().apply(source, tmp_path / "result", zoo.context(source))


def test_they_are_proposed_only_where_bytes_are_limited_or_weights_are_waited_for() -> None:
    """A product of one row reads as many numbers as it multiplies: fewer bits of them are less time."""
    profile = encoder_profile()
    waiting = replace(profile, ops=tuple(replace(op, bound="memory") if op.kind == "linear" else op for op in profile.ops))
    for kind in (LinearBits, Hqq, Gptq, Awq):
        assert "reading weights takes 0% of the time" in kind.propose(profile)
        limited, faster = kind.propose(replace(profile, bytes_are_limited=True)), kind.propose(waiting)
        assert limited[-2:] == faster and [m.bits for m in faster] in ([8, 4], [4, 3])
        assert all(m.predicted_speedup(profile) == 1.0 < 1.5 < m.predicted_speedup(waiting) < 4.0 for m in limited)
