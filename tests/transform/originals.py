"""A perceptron, well behaved or not, as an original pipeline."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from farthing import pipeline as pipelines
from farthing import torch_form
from farthing.types import Context, Pipeline, TensorSpec

WIDTH = 32
FLOAT = frozenset({"float_weights"})


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(WIDTH, 256), nn.Linear(256, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.hidden(x)))


class NotANumber(Perceptron):
    """NaN for rows whose first value is above two."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * torch.sqrt(2.0 - x[:, :1])


class OneAnswerABatch(Perceptron):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).mean(0, keepdim=True)


def original(directory: Path, kind: type[nn.Module] = Perceptron) -> Pipeline:
    directory.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = kind().eval()
    x = TensorSpec(name="x", dtype="float32", shape=("batch", WIDTH))
    y = TensorSpec(name="y", dtype="float32", shape=("batch", 5))
    file = torch_form.save(module, directory)
    return pipelines.write(
        Pipeline(directory=directory, form="torch", file=file, inputs=(x,), outputs=(y,), traits=FLOAT, pickled=True)
    )


def context(largest: float = 1.9) -> Context:
    rows = np.random.default_rng(0).uniform(-largest, largest, (16, 1, WIDTH)).astype(np.float32)
    rows[1, 0, 0] = largest
    return Context(calibration=tuple({"x": row} for row in rows))
