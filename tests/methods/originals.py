"""Small originals to change: an encoder with a masked attention and outliers, and a convolutional net, in every form."""

import functools
from pathlib import Path

import numpy as np
import torch
from torch import nn

from farthing import pipeline as pipelines
from farthing import plugins, torch_form
from farthing.conversions.base import Conversion
from farthing.types import Context, Feeds, Pipeline, TensorSpec

WIDTH, HEADS, VOCABULARY, NUM_LAYERS = 64, 4, 128, 2


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norm, self.final_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x_BLD: torch.Tensor, bias_B11L: torch.Tensor) -> torch.Tensor:
        def split(y_BLD: torch.Tensor) -> torch.Tensor:
            return y_BLD.unflatten(2, (HEADS, -1)).transpose(1, 2)

        q_BHLd, k_BHLd, v_BHLd = split(self.query(x_BLD)), split(self.key(x_BLD)), split(self.value(x_BLD))
        scores_BHLL = q_BHLd @ k_BHLd.transpose(2, 3) / (WIDTH // HEADS) ** 0.5 + bias_B11L
        seen_BLD = (torch.softmax(scores_BHLL, -1) @ v_BHLd).transpose(1, 2).flatten(2)
        x_BLD = self.norm(x_BLD + self.out(seen_BLD))
        return self.final_norm(x_BLD + self.down(torch.nn.functional.gelu(self.up(x_BLD))))


class Encoder(nn.Module):
    """Two of its embedding's channels are outliers, as in trained encoders: what SmoothQuant is for."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.embedding.weight.data[:, :2] *= 30.0
        self.layer = nn.ModuleList(Layer() for _ in range(NUM_LAYERS))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        bias_B11L = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        x_BLD = self.embedding(input_ids)
        bias_B11L = bias_B11L.to(x_BLD.dtype)
        for layer in self.layer:
            x_BLD = layer(x_BLD, bias_B11L)
        mask_BL1 = attention_mask[:, :, None].to(x_BLD.dtype)
        return (x_BLD * mask_BL1).sum(1) / mask_BL1.sum(1)


class ConvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.head = nn.Linear(32 * 4 * 4, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(image))


def encoder(directory: Path) -> Pipeline:
    texts = tuple(TensorSpec(name=name, dtype="int64", shape=("batch", "length")) for name in ("input_ids", "attention_mask"))
    return _snapshot(Encoder, directory, texts, TensorSpec(name="vector", dtype="float32", shape=("batch", WIDTH)))


def conv_net(directory: Path) -> Pipeline:
    image = TensorSpec(name="image", dtype="float32", shape=("batch", 1, 8, 8))
    return _snapshot(ConvNet, directory, (image,), TensorSpec(name="logits", dtype="float32", shape=("batch", 10)))


def context_for(pipeline: Pipeline, num_batches: int = 12) -> Context:
    """Batches of 2, of varying lengths where lengths vary, the second row padded."""
    batches = [_batch(pipeline, number) for number in range(num_batches)]
    return Context(calibration=tuple(batches), sensitivities=(("layer.1.down", 0.5), ("layer.0.query", 0.2)))


def _batch(pipeline: Pipeline, number: int) -> Feeds:
    feeds = pipelines.synthetic(pipeline, 2, 5 + number % 4, seed=number)
    if "input_ids" in feeds:
        feeds["input_ids"] %= VOCABULARY
        feeds["attention_mask"][1, -2:] = 0
    return feeds


@functools.cache
def in_form(make: str, form: str, directory: Path) -> Pipeline:
    """The original that `make` names, converted to `form` once for all tests."""
    original = {"encoder": encoder, "conv_net": conv_net}[make](directory / make / "torch")
    if form == "torch":
        return original
    conversion = plugins.load(Conversion, f"torch_to_{form}")()  # type: ignore[type-abstract]
    return conversion.convert(original, directory / make / form, context_for(original))


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.mean((left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)))


def _snapshot(make: type[nn.Module], directory: Path, inputs: tuple[TensorSpec, ...], output: TensorSpec) -> Pipeline:
    directory.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = make().eval()
    return pipelines.write(
        Pipeline(
            directory=directory,
            form="torch",
            file=torch_form.save(module, directory),
            inputs=inputs,
            outputs=(output,),
            traits=frozenset({"float_weights"}),
            pickled=True,
        )
    )
