"""Ceilings are measured once per machine and set of libraries; the probes compute what they are counted for."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farthing.diagnosis import ceilings
from farthing.results import Device

DEVICE = Device(
    name="a machine", kind="cpu", num_cores=2, memory_bytes=8e9, flops_per_s={"float32": 1e11, "int8": 1e12}, bytes_per_s=1e10
)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(ceilings, "measure_ceilings", lambda kind: calls.append(kind) or replace(DEVICE, kind=kind))
    return calls


def test_measured_once_then_remembered(tmp_path: Path, measured: list[str]) -> None:
    cache = tmp_path / "new" / "ceilings.json"
    assert ceilings.load_or_measure(cache) == ceilings.load_or_measure(cache) == DEVICE
    assert measured == ["cpu"]
    assert [file.name for file in cache.parent.iterdir()] == ["ceilings.json"]


def test_another_library_version_is_measured_again_and_both_are_kept(
    tmp_path: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "ceilings.json"
    ceilings.load_or_measure(cache)
    monkeypatch.setattr(ceilings, "version", lambda package: "99.0")
    ceilings.load_or_measure(cache)
    assert measured == ["cpu", "cpu"]
    assert len(json.loads(cache.read_text())) == 2


def test_a_torn_cache_is_measured_again(tmp_path: Path, measured: list[str]) -> None:
    cache = tmp_path / "ceilings.json"
    cache.write_text('{"cpu | ')
    assert ceilings.load_or_measure(cache) == DEVICE
    assert ceilings.load_or_measure(cache) == DEVICE
    assert measured == ["cpu"]


def test_every_precision_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "PROBE_S", 0.0)
    monkeypatch.setattr(ceilings, "SIDES", (128,))
    device = ceilings.measure_ceilings()
    assert set(device.flops_per_s) == {"float32", "bfloat16", "int8"}
    assert all(1e6 < rate < 1e16 for rate in (*device.flops_per_s.values(), device.bytes_per_s))
    assert device.num_cores == ceilings.num_cores() and device.memory_bytes > 1e8 and device.name
    assert device.source.startswith("measured: float32 with ")


def test_without_torch_numpy_measures_float32_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "PROBE_S", 0.0)
    monkeypatch.setattr(ceilings, "SIDES", (128,))
    monkeypatch.setattr(ceilings, "find_spec", lambda package: package == "numpy" or None)
    device = ceilings.measure_ceilings()
    assert set(device.flops_per_s) == {"float32"}
    assert device.source == "measured: float32 with numpy"


def test_a_pause_of_the_machine_spoils_no_precision_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """While `slow` holds, everything takes ten times as long: the first round of all probes, and the second of float32."""
    took_s, calls = {"float32": 1.0, "bfloat16": 0.5}, dict.fromkeys(("float32", "bfloat16"), 0)

    def probe(dtype: str) -> ceilings.Probe:
        return lambda n: lambda: dtype

    def fastest(step: ceilings.Step, seconds: float) -> float:
        dtype = str(step())
        calls[dtype] += 1
        return took_s[dtype] * (10 if calls[dtype] == 1 or (dtype, calls[dtype]) == ("float32", 2) else 1)

    monkeypatch.setattr(ceilings, "CPU_PROBES", {dtype: {"numpy": probe(dtype)} for dtype in took_s})
    monkeypatch.setattr(ceilings, "SIDES", (128,))
    monkeypatch.setattr(ceilings, "_fastest", fastest)
    peaks = ceilings._peaks()
    assert peaks["bfloat16"][0] == 2 * peaks["float32"][0] == 2 * 2.0 * 128**3


def test_the_onnx_probe_multiplies_in_integers() -> None:
    result = ceilings._onnxruntime_int8(16)()
    assert isinstance(result, list)
    assert result[0].dtype == np.int32 and result[0].shape == (16, 16)


def test_the_fastest_step_counts() -> None:
    assert ceilings._fastest(lambda: None) < 1e-3
