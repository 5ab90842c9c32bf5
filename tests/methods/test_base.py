"""What members share: Amdahl's law over a profile, the reason of a slow peak, the layers that stay in float."""

from dataclasses import replace

import pytest

from farthing.errors import BuildError
from farthing.methods.base import WEIGHTED, amdahl, keeps, kept_in_float, slower_peak
from farthing.results import Device, Op, Profile
from farthing.testing.profiles import encoder_profile
from farthing.types import Context


def profile(peaks: dict[str, float]) -> Profile:
    """Three of four seconds in a linear layer, one in a norm; no time outside the model."""
    made = encoder_profile()
    ops = tuple(
        Op(name=kind, kind=kind, seconds=seconds, flops=1.0, bytes=1.0, bound="compute", roofline_fraction=0.5)
        for kind, seconds in (("linear", 3.0), ("norm", 1.0))
    )
    device: Device = replace(made.device, flops_per_s=peaks)
    return replace(made, ops=ops, device=device, host_s=0.0)


def test_amdahl_speeds_up_only_the_named_kinds() -> None:
    assert amdahl(profile({"float32": 1.0, "int8": 3.0}), WEIGHTED, "int8") == pytest.approx(2.0)
    assert amdahl(profile({"float32": 1.0, "int8": 3.0}), {"conv"}, "int8") == pytest.approx(1.0)


def test_amdahl_leaves_out_the_layers_that_stay_in_float() -> None:
    fast = replace(profile({"float32": 1.0, "int8": 1e9}), sensitivities=(("a", 0.5), ("b", 0.4)))
    assert amdahl(fast, WEIGHTED, "int8", kept=1) == pytest.approx(1.0 / (1.0 - 0.75 / 2))
    assert amdahl(fast, WEIGHTED, "int8", kept=2) == pytest.approx(1.0)


def test_a_tenth_of_the_layers_may_stay_in_float() -> None:
    known = tuple((f"layer.{i}", 1.0 / (1 + i)) for i in range(36))
    assert keeps(replace(encoder_profile(), sensitivities=known)) == (0, 4)
    assert keeps(replace(encoder_profile(), sensitivities=())) == (0,)


def test_amdahl_counts_the_time_outside_the_model() -> None:
    slow_host = replace(profile({"float32": 1.0, "int8": 1e9}), host_s=1.0, model_s=1.0)
    assert amdahl(slow_host, WEIGHTED, "int8") == pytest.approx(1.0 / (1.0 - 0.75 / 2))


def test_a_peak_that_is_not_faster_is_a_reason() -> None:
    assert slower_peak(profile({"float32": 2.0, "int8": 8.0}), "int8") is None
    assert "only 0.50 times" in str(slower_peak(profile({"float32": 2.0, "bfloat16": 1.0}), "bfloat16"))
    assert "no measured bfloat16" in str(slower_peak(profile({"float32": 2.0}), "bfloat16"))


def test_layers_are_found_by_path_whatever_the_graph_calls_them() -> None:
    context = Context(calibration=(), sensitivities=(("layer.1.down", 0.9), ("layer.0.query", 0.5)))
    paths = {"a": "/layer.1/down/MatMul", "b": "__module.layer.0.query/aten::linear/MatMul", "c": "/layer.11/down/MatMul"}
    paths |= {"d": "/sublayer.1/down/MatMul", "e": "/layer.1/down_again/MatMul"}
    assert kept_in_float(0, context, paths) == []
    assert kept_in_float(1, context, paths) == ["a"]
    assert kept_in_float(2, context, paths) == ["a", "b"]


def test_more_layers_than_were_measured() -> None:
    with pytest.raises(BuildError, match="keep_float=1, but the sensitivity of only 0 layers is known"):
        kept_in_float(1, Context(calibration=()), {})
