"""Pickled modules: the same bytes in any process, a copy of one's own, and threads that are asked for."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from farthing.errors import BuildError, ModelError
from farthing.forms import torch_form
from farthing.testing import samples
from farthing.types import TensorSpec

DIGEST_CODE = """
import hashlib, sys
from pathlib import Path
from farthing.forms import torch_form
from farthing.testing.samples import cnn
from torch import nn
module = nn.Sequential(cnn()[0], nn.Identity())
for name in ("alpha", "beta", "gamma", "delta"):
    module.register_buffer(name, module[0].head.weight.detach().clone(), persistent=False)
torch_form.save(module, Path(sys.argv[1]))
print(hashlib.sha256((Path(sys.argv[1]) / torch_form.FILE).read_bytes()).hexdigest())
"""


def test_equal_modules_give_equal_bytes_in_any_process(tmp_path: Path) -> None:
    """Sets come in hash order, tensors by address: each process has its own of both."""
    digests = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-c", DIGEST_CODE, str(tmp_path)]
        answer = subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
        digests.add(answer.stdout)
    assert len(digests) == 1


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    module = torch.nn.Module()
    module.shared = torch.nn.Parameter(torch.randn(3, 4).t(), requires_grad=False)
    module.again = module.shared
    module.register_buffer("rounded", torch.randn(2, 2).bfloat16())
    module.register_buffer("scalar", torch.tensor(True))
    module.register_buffer("empty", torch.zeros(0, 5))
    pipeline = samples.pipeline("mlp", tmp_path / "model")
    torch_form.save(module, tmp_path / "model")
    read = torch_form.load(pipeline)
    assert read.again is read.shared, "tied weights came apart"
    for name, value in module.state_dict().items():
        assert torch.equal(read.state_dict()[name], value) and read.state_dict()[name].dtype == value.dtype, name


def test_the_callers_module_is_left_in_training_mode(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.9)).train()
    inputs = (TensorSpec(name="x", dtype="float32", shape=("batch", 3)),)
    pipeline = torch_form.snapshot(module, inputs, {"x": torch.ones(1, 3).numpy()}, tmp_path)
    assert module.training and all(p.requires_grad for p in module.parameters())
    read = torch_form.load(pipeline)
    assert not any(part.training for part in read.modules()) and not any(p.requires_grad for p in read.parameters())


def test_what_cannot_be_pickled_is_named(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 3)
    module.lock = threading.Lock()
    inputs = (TensorSpec(name="x", dtype="float32", shape=("batch", 3)),)
    with pytest.raises(ModelError, match=r"Linear cannot be pickled: .*lock"):
        torch_form.snapshot(module, inputs, {"x": torch.ones(1, 3).numpy()}, tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    pipeline = samples.pipeline("mlp", tmp_path / "model")
    pipeline.path.write_bytes(pipeline.path.read_bytes()[:50])
    with pytest.raises(ModelError, match=r"module\.pkl cannot be unpickled here"):
        torch_form.load(pipeline)


def test_every_thread_gets_the_number_that_was_asked_for() -> None:
    before, seen = torch.get_num_threads(), []
    inputs = (TensorSpec(name="x", dtype="float32", shape=("batch", 3)),)

    def call(x: torch.Tensor) -> torch.Tensor:
        seen.append((torch.get_num_threads(), torch.is_inference_mode_enabled()))
        return x

    session = torch_form.TorchSession(call, inputs, threads=before + 1)
    feeds = {"x": torch.ones(1, 3).numpy()}
    session.run(feeds)
    thread = threading.Thread(target=session.run, args=(feeds,))
    thread.start()
    thread.join()
    torch.set_num_threads(before)
    assert seen == [(before + 1, True)] * 2


def test_halves_are_widened() -> None:
    assert [str(a.dtype) for a in torch_form.arrays((torch.ones(1).bfloat16(), torch.ones(1).half(), torch.ones(1)))] == [
        "float32"
    ] * 3


def test_a_package_for_another_processor_is_named(tmp_path: Path) -> None:
    pipeline = samples.pipeline("mlp", tmp_path / "model")
    with pytest.raises(BuildError, match=r"module\.pkl cannot be loaded on this processor"):
        torch_form.open_package(pipeline, threads=1, streams=1)


class Everything(torch.nn.Module):
    """Passes on whatever it gets, as wrappers do."""

    def forward(self, first: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        return first + sum(others)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it imports what export needs
def test_modules_with_any_number_of_arguments_can_be_exported(tmp_path: Path) -> None:
    inputs = tuple(TensorSpec(name=name, dtype="float32", shape=("batch", 3)) for name in "abc")
    pipeline = torch_form.snapshot(Everything().eval(), inputs, {name: torch.ones(2, 3).numpy() for name in "abc"}, tmp_path)
    module = torch_form.load(pipeline)
    shapes = torch_form.dynamic_shapes(module, pipeline)
    program = torch.export.export(module, (torch.ones(2, 3),) * 3, dynamic_shapes=shapes)
    assert program.module()(*(torch.ones(5, 3),) * 3).shape == (5, 3)
