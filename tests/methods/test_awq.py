"""Scaling before rounding: what large inputs multiply is kept better, and a norm takes the scale over at no cost."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from farthing.errors import BuildError, DataError
from farthing.forms import grouped, torch_form
from farthing.forms.scaling import Divided
from farthing.methods.awq import Awq
from farthing.methods.linear_bits import LinearBits
from farthing.testing import methods as laws
from farthing.testing import zoo

from .originals import context_for, encoder


def layer() -> tuple[torch.Tensor, grouped.Seen]:
    """A weight (48, 128) and what its inputs are: six of them 30 times as large as the others."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 128, generator=generator)
    x[:, ::24] *= 30.0
    weight = torch.randn(48, 128, generator=generator)
    return weight, grouped.Seen(moment=(x.T @ x / len(x)).double(), size=x.abs().mean(0))


def error(weight: torch.Tensor, found: torch.Tensor, seen: grouped.Seen) -> float:
    difference = found - weight
    return float(((difference @ seen.moment.float()) * difference).sum())


@pytest.mark.parametrize("bits", [3, 4])
def test_scaling_and_clipping_each_bring_the_answers_nearer(bits: int) -> None:
    weight, seen = layer()
    moment, ones = seen.moment.float(), torch.ones(128)

    def of(method: Awq, scale: torch.Tensor) -> float:
        rounded = method.rounded(weight * scale, moment / scale / scale[:, None]).decode() / scale
        return error(weight, rounded, seen)

    scale = Awq(bits=bits).scale([weight], seen)
    plain, clipped = of(Awq(bits=bits, clip=False), ones), of(Awq(bits=bits), ones)
    scaled, both = of(Awq(bits=bits, clip=False), scale), of(Awq(bits=bits), scale)
    assert clipped < plain and scaled < 0.3 * plain and both < 0.95 * scaled


def test_like_inputs_and_those_never_seen_get_no_scale() -> None:
    weight, _ = layer()
    like = grouped.Seen(moment=torch.eye(128, dtype=torch.float64), size=torch.ones(128))
    never = grouped.Seen(moment=torch.zeros(128, 128, dtype=torch.float64), size=torch.zeros(128))
    for seen in (like, never):
        assert torch.equal(Awq().scale([weight], seen), torch.ones(128))


def test_an_encoder_with_outliers_is_nearer_than_by_rounding_and_small(tmp_path: Path) -> None:
    source = encoder(tmp_path / "source")
    context = context_for(source)
    truth = laws.answers(source, context)[0]
    nearest = LinearBits(bits=3, symmetric=False, granularity="group", group_size=32, range="min_max")
    results = [
        method.apply(source, tmp_path / type(method).__name__, context) for method in (nearest, Awq(bits=3, group_size=32))
    ]
    of_rounding, of_awq = (float(np.square(laws.answers(result, context)[0] - truth).mean()) for result in results)
    assert of_awq < 0.8 * of_rounding
    assert results[1].path.stat().st_size < 0.4 * source.path.stat().st_size


def test_norms_before_their_readers_take_scales_over(tmp_path: Path) -> None:
    source = zoo.source("decoder", tmp_path / "source")
    module = torch_form.load(Awq(bits=3, group_size=32).apply(source, tmp_path / "result", zoo.context(source))).module
    divided = {path.rpartition(".")[2] for path, part in module.named_modules() if isinstance(part, Divided)}
    assert "down" in divided and not divided & {"query", "key", "value", "up"}
    assert not torch.equal(module.blocks[3].second_norm.weight, torch.ones(zoo.WIDTH))


@pytest.mark.parametrize(
    ("method", "message"),
    [(Awq(bits=5), "awq: bits are one of 2, 3, 4, 8, not 5"), (Awq(group_size=4), "awq: a group has at least 8 inputs, not 4")],
    ids=str,
)
def test_knobs_out_of_range_are_refused(method: Awq, message: str, tmp_path: Path) -> None:
    source = encoder(tmp_path / "source")
    with pytest.raises(BuildError, match=message):
        method.apply(source, tmp_path / "result", context_for(source))


def test_too_few_rows_and_nan_are_refused(tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    context = zoo.context(source)
    with pytest.raises(BuildError, match=r"awq .* has 3"):
        Awq().apply(source, tmp_path / "few", replace(context, calibration=context.calibration[:3]))
    spoiled = {"input": np.full_like(context.calibration[0]["input"], np.nan)}
    with pytest.raises(DataError, match="input 'input' of calibration batch 0 holds NaN"):
        Awq().apply(source, tmp_path / "nan", replace(context, calibration=(spoiled, *context.calibration)))
