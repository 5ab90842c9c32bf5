"""Originals with enough weights for int8 to show in bytes, each with what a quantizer may stumble over."""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.forms import torch_form
from farthing.types import Array, Context, Dataset, Feeds, Pipeline, TensorSpec

WIDTH, HEADS, VOCABULARY, NUM_LAYERS, OUTLIER = 64, 4, 128, 2, 20.0


class Layer(nn.Module):
    """Two channels of its norms are outliers with small weights behind them, as in trained encoders: a case for SmoothQuant."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.query.weight.data *= 10.0  # attention looks at some tokens, not evenly at all
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.first_norm, self.second_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        for norm, readers in ((self.first_norm, (self.query, self.key, self.value)), (self.second_norm, (self.up,))):
            norm.weight.data[:2] *= OUTLIER
            for linear in readers:
                linear.weight.data[:, :2] /= OUTLIER

    def forward(self, x_BLD: torch.Tensor, bias_B11L: torch.Tensor) -> torch.Tensor:
        def split(y_BLD: torch.Tensor) -> torch.Tensor:
            return y_BLD.unflatten(2, (HEADS, -1)).transpose(1, 2)

        y_BLD = self.first_norm(x_BLD)
        q_BHLd, k_BHLd, v_BHLd = split(self.query(y_BLD)), split(self.key(y_BLD)), split(self.value(y_BLD))
        scores_BHLL = q_BHLd @ k_BHLd.transpose(2, 3) / (WIDTH // HEADS) ** 0.5 + bias_B11L
        x_BLD = x_BLD + self.out((torch.softmax(scores_BHLL, -1) @ v_BHLd).transpose(1, 2).flatten(2))
        return x_BLD + self.down(torch.nn.functional.gelu(self.up(self.second_norm(x_BLD))))


class Encoder(nn.Module):
    def __init__(self, num_layers: int = NUM_LAYERS) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.embedding.weight.data *= 0.1  # what the layers add counts
        self.layer = nn.ModuleList(Layer() for _ in range(num_layers))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        bias_B11L = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        x_BLD = self.embedding(input_ids)
        bias_B11L = bias_B11L.to(x_BLD.dtype)
        for layer in self.layer:
            x_BLD = layer(x_BLD, bias_B11L)
        mask_BL1 = attention_mask[:, :, None].to(x_BLD.dtype)
        return (x_BLD * mask_BL1).sum(1) / mask_BL1.sum(1)


class DeepEncoder(Encoder):
    def __init__(self) -> None:
        super().__init__(num_layers=4)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(16, 64), nn.Linear(64, 16)

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        return x_BD + self.down(torch.relu(self.up(x_BD)))


class DeepClassifier(nn.Module):
    """Four residual blocks over 12 features; five classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(12, 16), nn.Linear(16, 5)
        self.blocks = nn.Sequential(*(Residual() for _ in range(4)))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(input)))


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


class Tied(nn.Module):
    """The table of the embedding is the head's weight too."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)
        self.embedding.weight.data *= torch.logspace(-2, 1, WIDTH)  # very unlike channels, and
        self.embedding.weight.data *= torch.logspace(-1, 1, VOCABULARY)[:, None]  # very unlike rows
        self.head.weight = self.embedding.weight

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(input_ids).mean(1))


class Weightless(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) * 2.0


def encoder(directory: Path) -> Pipeline:
    inputs = tuple(TensorSpec(name=name, dtype="int64", shape=("batch", "length")) for name in ("input_ids", "attention_mask"))
    return snapshot(Encoder, inputs, directory)


def deep_encoder(directory: Path) -> Pipeline:
    inputs = tuple(TensorSpec(name=name, dtype="int64", shape=("batch", "length")) for name in ("input_ids", "attention_mask"))
    return snapshot(DeepEncoder, inputs, directory)


def deep_classifier(directory: Path) -> Pipeline:
    return snapshot(DeepClassifier, (TensorSpec(name="input", dtype="float32", shape=("batch", 12)),), directory)


def rows(pipeline: Pipeline, n: int, seed: int = 0) -> tuple[list[Array], ...]:
    """n requests, column by column: tokens with a mask of ones, or random values."""
    generator = np.random.default_rng(seed)
    if pipeline.inputs[0].dtype == "int64":
        ids = [generator.integers(0, VOCABULARY, generator.integers(4, 12)) for _ in range(n)]
        return ids, [np.ones(len(i), np.int64) for i in ids]
    return (list(generator.standard_normal((n, 12)).astype(np.float32)),)


def tied(directory: Path) -> Pipeline:
    return snapshot(Tied, (TensorSpec(name="input_ids", dtype="int64", shape=("batch", "length")),), directory)


def weightless(directory: Path) -> Pipeline:
    return snapshot(Weightless, (TensorSpec(name="x", dtype="float32", shape=("batch", 8)),), directory)


def conv_net(directory: Path) -> Pipeline:
    return snapshot(ConvNet, (TensorSpec(name="image", dtype="float32", shape=("batch", 1, 8, 8)),), directory)


def snapshot(make: type[nn.Module], inputs: tuple[TensorSpec, ...], directory: Path) -> Pipeline:
    directory.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = make().eval()
    return torch_form.snapshot(module, inputs, _batch(inputs, 0), directory)


@functools.cache
def in_form(make: str, form: str, directory: Path) -> Pipeline:
    """The original that `make` names, converted to `form` once for all tests."""
    if form == "torch":
        makers = {"encoder": encoder, "conv_net": conv_net, "tied": tied, "weightless": weightless}
        return makers[make](directory / make / "torch")
    original = in_form(make, "torch", directory)
    conversion = plugins.load(Conversion, f"torch_to_{form}")()  # type: ignore[type-abstract]
    return conversion.convert(original, directory / make / form, context_for(original))


def context_for(pipeline: Pipeline, num_batches: int = 12) -> Context:
    """Batches of two rows; of lengths that vary, the second row padded, where lengths vary."""
    batches = [_batch(pipeline.inputs, number) for number in range(num_batches)]
    return Context(calibration=tuple(batches), sensitivities=(("layer.1.down", 0.5), ("layer.0.query", 0.2)))


def learning_context(pipeline: Pipeline) -> Context:
    """The same, with the rows of 60 more batches as a train split without labels, and `pipeline` as the original."""
    feeds = [_batch(pipeline.inputs, number) for number in range(100, 160)]
    columns = tuple([row for batch in feeds for row in batch[spec.name]] for spec in pipeline.inputs)
    return replace(context_for(pipeline), train=Dataset(columns=columns), original=pipeline)


def float_products(pipeline: Pipeline) -> list[str]:
    """Names of the MatMul and Gemm operators that have a float weight."""
    graph = onnx.load(pipeline.path).graph
    weights = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 2}
    return [node.name for node in graph.node if node.op_type in ("MatMul", "Gemm") and weights.intersection(node.input)]


def dtypes_of(module: torch.nn.Module, kind: type[torch.nn.Module]) -> set[torch.dtype]:
    """What modules of this kind return."""
    seen: set[torch.dtype] = set()
    for part in module.modules():
        if isinstance(part, kind):
            part.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    ids = torch.ones(2, 3, dtype=torch.int64)
    (answer,) = module(ids, ids)
    assert answer.dtype == torch.float32
    return seen


def cosine(left: list[Array], right: list[Array]) -> float:
    """Mean over the items of the first outputs."""
    a, b = left[0], right[0]
    return float(np.mean((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)))


def _batch(inputs: tuple[TensorSpec, ...], number: int) -> Feeds:
    generator = np.random.default_rng(number)
    feeds: Feeds = {}
    for spec in inputs:
        shape = tuple({"batch": 2, "length": 5 + number % 4}.get(str(n), n) for n in spec.shape)
        if spec.name == "attention_mask":
            feeds[spec.name] = np.ones(shape, np.int64)
            feeds[spec.name][1, -2:] = 0
        elif spec.dtype == "int64":
            feeds[spec.name] = generator.integers(0, VOCABULARY, shape)
        else:
            feeds[spec.name] = generator.standard_normal(shape).astype(np.float32)
    return feeds
