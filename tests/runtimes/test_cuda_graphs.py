"""What is recorded on a GPU, and what cannot be. The laws are in the contract; without a GPU only the refusal is tested."""

from pathlib import Path

import numpy as np
import pytest
import torch

from farthing import pipeline as pipelines
from farthing.errors import BuildError
from farthing.forms import cuda_graph, torch_form
from farthing.runtimes.cuda_graphs import CudaGraphs
from farthing.runtimes.torch_eager import TorchEager
from farthing.types import Pipeline, TensorSpec

from .conftest import Made

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


class Looks(torch.nn.Module):
    """Chooses by a value, which a recorded sequence of launches cannot."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum().item() > 0 else x


def test_it_runs_on_cuda_alone(made: Made) -> None:
    with pytest.raises(BuildError, match="runs on cuda, not on 'cpu': use torch_compile"):
        CudaGraphs().open(made("mlp", "torch"), threads=1, streams=1, device_kind="cpu")


@gpu
def test_every_shape_answers_as_eager_does(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graph, "MOST_GRAPHS", 3)  # what comes later runs without
    encoder = made("encoder", "torch")
    eager = TorchEager().open(encoder, threads=1, streams=1, device_kind="cuda")
    session = CudaGraphs().open(encoder, threads=1, streams=1, device_kind="cuda")
    for batch_size, length in ((1, 5), (9, 5), (3, 20), (1, 5), (5, 20), (9, 31), (1, 16)):
        feeds = pipelines.synthetic(encoder, batch_size, length, seed=batch_size)
        for got, expected in zip(session.run(feeds), eager.run(feeds), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-4)


@gpu
def test_a_forward_that_looks_at_values_is_refused(tmp_path: Path) -> None:
    inputs = (TensorSpec(name="x", dtype="float32", shape=("batch", 4)),)
    looks: Pipeline = torch_form.snapshot(Looks(), inputs, {"x": np.ones((2, 4), np.float32)}, tmp_path)
    session = CudaGraphs().open(looks, threads=1, streams=1, device_kind="cuda")
    with pytest.raises(BuildError, match="has no fixed sequence of launches"):
        session.run({"x": np.ones((2, 4), np.float32)})
