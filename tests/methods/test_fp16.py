"""Weights in float16: half the bytes in either form, finer than bfloat16, and nothing beyond its range."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.methods.bf16_weights import Bf16Weights
from farthing.methods.fp16 import Fp16
from farthing.testing.methods import answers
from farthing.testing.profiles import encoder_profile
from farthing.types import Context, Pipeline, TensorSpec

from .originals import context_for, encoder, in_form


@pytest.mark.parametrize("form", ["torch", "openvino"])
def test_half_the_bytes_and_finer_than_bfloat16(form: str, tmp_path: Path) -> None:
    source = in_form("encoder", form, tmp_path)
    result = Fp16().apply(source, tmp_path / "result", context_for(source))
    assert size_of(result) < 0.6 * size_of(source)
    original, context = encoder(tmp_path / "original"), context_for(source)
    coarse = Bf16Weights().apply(original, tmp_path / "coarse", context)
    assert 0 < apart(result, original, context) < 0.3 * apart(coarse, original, context)


@pytest.mark.parametrize("form", ["torch", "openvino"])
def test_a_weight_beyond_its_range_is_named(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if form == "openvino":
        monkeypatch.setattr("farthing.methods.fp16.GREATEST", 1e-3)
        source = in_form("encoder", "openvino", tmp_path)
    else:
        module = torch.nn.Linear(4, 2)
        module.weight.data[1, 2] = -7e4
        inputs = (TensorSpec(name="x", dtype="float32", shape=("batch", 4)),)
        source = torch_form.snapshot(module, inputs, {"x": np.ones((2, 4), np.float32)}, tmp_path)
    with pytest.raises(BuildError, match=r"fp16: .* holds .*, and float16 ends at .* Use bf16"):
        Fp16().apply(source, tmp_path / "result", context_for(source))


def test_it_is_tried_where_the_device_has_it_or_bytes_are_limited() -> None:
    profile = encoder_profile()
    assert "no measured float16 peak; it saves bytes" in str(Fp16.propose(profile))
    assert Fp16.propose(replace(profile, bytes_are_limited=True)) == (Fp16(),)
    peaks = {"float32": 1e12, "float16": 8e12}
    fast = replace(profile, device=replace(profile.device, flops_per_s=peaks))
    assert Fp16.propose(fast) == (Fp16(),) and Fp16().predicted_speedup(fast) > 1.5


def apart(one: Pipeline, other: Pipeline, context: Context) -> float:
    pairs = zip(answers(one, context), answers(other, context), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def size_of(pipeline: Pipeline) -> int:
    return sum(file.stat().st_size for file in pipeline.directory.iterdir() if file.suffix in (".pkl", ".bin"))
