"""Each cause put into a real model, found by the whole diagnosis, and gone when it is taken out."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from farthing.diagnosis import diagnose
from farthing.diagnosis.ceilings import num_cores
from farthing.errors import DataError, ModelError
from farthing.results import Device, Profile
from farthing.types import Pipeline, TensorSpec

Write = Callable[..., Pipeline]


@pytest.fixture(autouse=True)
def a_few_rounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("farthing.diagnosis.profile.ROUNDS_S", 0.0)
    monkeypatch.setattr("farthing.diagnosis.profile.LEAST_ROUNDS", 10)
    monkeypatch.setattr("farthing.diagnosis.profile.HOST_S", 0.1)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def saving(profile: Profile, cause: str) -> float:
    return next((finding.max_saving for finding in profile.findings if finding.cause == cause), 0.0)


def arrays(num: int, *shape: int) -> list[tuple[np.ndarray, ...]]:
    return [(np.random.default_rng(i).standard_normal(shape).astype(np.float32),) for i in range(num)]


def texts(*num_words: int) -> list[tuple[str]]:
    return [(" ".join(str(i % 100) for i in range(n)),) for n in num_words]


class ManyTinyOperators(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(300):
            x = x + 1.0
        return x


class Streaming(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x + 1.0) * 2.0 - 3.0) / 4.0


def large_product(size: int) -> nn.Module:
    return nn.Sequential(nn.Linear(size, size, bias=False))


def test_overhead_of_many_tiny_operators(torch_original: Write, device: Device) -> None:
    requests = arrays(4, 8)
    sick = diagnose(torch_original(ManyTinyOperators(), ("batch", 8)), requests, device, threads=1)
    assert saving(sick, "overhead") > 0.8
    well = diagnose(torch_original(large_product(1024), ("batch", 1024)), arrays(256, 1024), device, batch_size=256, threads=1)
    assert saving(well, "overhead") < 0.5


def test_compute_of_a_large_product_and_memory_of_a_long_stream(torch_original: Write, device: Device) -> None:
    product = torch_original(large_product(1024), ("batch", 1024))
    computing = diagnose(product, arrays(256, 1024), device, batch_size=256, threads=1)
    assert saving(computing, "compute") > 5 * saving(computing, "memory")
    assert {op.kind for op in computing.ops if op.bound == "compute"} == {"linear"}
    streaming = diagnose(torch_original(Streaming(), ("batch", 2**20)), arrays(2, 2**20), device, batch_size=2, threads=1)
    assert saving(streaming, "memory") > 0.02  # how near to the ceiling depends on who else uses the memory
    assert saving(streaming, "compute") == 0.0
    assert "low precision and faster kernels" in dict(streaming.skipped)


def test_padding_of_unlike_texts(text_original: Write, device: Device) -> None:
    original = text_original(hidden=256, num_layers=4, max_length=128)
    unlike = diagnose(original, texts(*[4, 128] * 16), device, batch_size=8, threads=1)
    assert saving(unlike, "padding") > 0.2  # 48% of the model's work
    assert unlike.lengths.tolist() == [4, 128] * 16
    alike = diagnose(original, texts(*[66] * 32), device, batch_size=8, threads=1)
    assert saving(alike, "padding") == 0.0
    assert dict(alike.skipped)["length bucketing"].endswith("all requests have one length, 66")


def test_host_time_of_a_slow_tokenizer(text_original: Write, device: Device) -> None:
    slow = diagnose(text_original(hidden=8, num_layers=1, max_length=4), texts(*[20_000] * 8), device, threads=1)
    assert saving(slow, "host") > 0.5
    assert slow.host_s > slow.model_s
    fast = diagnose(text_original(hidden=1024, num_layers=8, max_length=64), texts(*[64] * 8), device, threads=1)
    assert saving(fast, "host") < 0.1


class Queueing(nn.Module):
    """Its threads share the work up to the number of cores, and queue for a core beyond: slept, so that no noise decides."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        threads = torch.get_num_threads()
        time.sleep(0.02 / threads if threads <= num_cores() else 0.02 * threads)
        return x + 1.0


def test_threads_beyond_the_cores(torch_original: Write, device: Device) -> None:
    original = torch_original(Queueing(), ("batch", 8))
    crowded = diagnose(original, arrays(2, 8), device, threads=4 * num_cores())
    assert saving(crowded, "oversubscription") > 0.5
    fitting = diagnose(original, arrays(2, 8), device, threads=num_cores())
    assert saving(fitting, "oversubscription") < 0.2


def test_sensitivity_of_one_layer(torch_original: Write, device: Device) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(256, 256, bias=False) for _ in range(6)]
    original = torch_original(nn.Sequential(*layers), ("batch", 256))
    calibration = [{"input_ids": array} for (array,) in ((a[0][None],) for a in arrays(8, 256))]
    alike = diagnose(original, arrays(32, 256), device, calibration=calibration, batch_size=32, threads=1)
    assert saving(alike, "sensitivity") == 0.0
    with torch.no_grad():
        layers[2].weight[0] *= 300.0
        layers[3].weight[:, 0] /= 300.0
    original = torch_original(nn.Sequential(*layers), ("batch", 256))
    outlier = diagnose(original, arrays(32, 256), device, calibration=calibration, batch_size=32, threads=1)
    assert saving(outlier, "sensitivity") > 0.02
    assert outlier.sensitivities[0][0] == "3"


def test_operators_add_up_to_the_batch(torch_original: Write, device: Device) -> None:
    profile = diagnose(torch_original(large_product(64), ("batch", 64)), arrays(10, 64), device, batch_size=4, threads=1)
    assert sum(op.seconds for op in profile.ops) == pytest.approx(4 * profile.model_s)
    assert [op.flops for op in profile.ops if op.kind == "linear"] == [2 * 4 * 64 * 64]
    assert profile.lengths.tolist() == [1] * 10


def test_the_timed_batch_has_the_typical_padded_length(text_original: Write, device: Device) -> None:
    original = text_original(hidden=8, num_layers=1, max_length=64)
    profile = diagnose(original, texts(2, 2, 30, 30, 64, 64), device, batch_size=2, threads=1)
    assert any(op.kind == "linear" and "60x8" in op.name for op in profile.ops)  # 2 x 30 words, nearest to the mean of 32


def test_threads_default_to_what_the_environment_asks(
    torch_original: Write, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", f"{num_cores() + 3},1")
    profile = diagnose(torch_original(Streaming(), ("batch", 8)), arrays(2, 8), device)
    told = [*(f.evidence for f in profile.findings), *(reason for _, reason in profile.skipped)]
    assert any(f"threads={num_cores() + 3} on" in line for line in told)


def test_without_calibration_no_layer_is_tried(torch_original: Write, device: Device) -> None:
    profile = diagnose(torch_original(large_product(8), ("batch", 8)), arrays(2, 8), device, threads=1)
    assert profile.sensitivities == ()


def test_no_requests_and_unknown_forms_are_refused(tmp_path: Path, torch_original: Write, device: Device) -> None:
    original = torch_original(large_product(8), ("batch", 8))
    with pytest.raises(DataError, match="at least one request"):
        diagnose(original, [], device)
    with pytest.raises(ModelError, match=r"no runtime accepts the original's form 'punched_cards'; they accept: .*torch"):
        diagnose(replace(original, form="punched_cards"), arrays(1, 8), device)


def test_other_forms_are_timed_through_a_runtime(tmp_path: Path, device: Device) -> None:
    import openvino
    from openvino import opset13 as ops

    parameter = ops.parameter([-1, 8], np.float32, name="x")
    model = openvino.Model([ops.relu(parameter)], [parameter])
    model.outputs[0].set_names({"y"})
    model.inputs[0].set_names({"x"})
    openvino.save_model(model, tmp_path / "model.xml")
    specs = {name: (TensorSpec(name=name, dtype="float32", shape=("batch", 8)),) for name in ("x", "y")}
    original = Pipeline(directory=tmp_path, form="openvino", file="model.xml", inputs=specs["x"], outputs=specs["y"])
    profile = diagnose(original, arrays(4, 8), device, batch_size=2, threads=1)
    assert profile.ops == () and profile.model_s > 0 and profile.host_s > 0
