"""Small real models of many families, made from a seed: every method treats each of them, or refuses it by name."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from farthing.forms import sklearn_form, torch_form
from farthing.pipeline import feeds_of
from farthing.testing.samples import Residual
from farthing.types import Array, Column, Context, Dataset, Pipeline, TensorSpec

NUM_CLASSES, NUM_TOKENS, WIDTH, HEADS = 5, 64, 32, 4
NUM_TRAIN, NUM_CALIBRATE = 240, 64
ANSWER_BATCH = 64


class Attention(nn.Module):  # type: ignore[misc]
    """Pre-norm block; `causal` for a decoder."""

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.first_norm, self.second_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x_BLD: Any) -> Any:
        def split(y_BLD: Any) -> Any:
            return y_BLD.unflatten(2, (-1, WIDTH // HEADS)).transpose(1, 2)  # as many heads as there are

        y_BLD = self.first_norm(x_BLD)
        seen_BHLd = nn.functional.scaled_dot_product_attention(
            split(self.query(y_BLD)), split(self.key(y_BLD)), split(self.value(y_BLD)), is_causal=self.causal
        )
        x_BLD = x_BLD + self.out(seen_BHLd.transpose(1, 2).flatten(2))
        return x_BLD + self.down(nn.functional.gelu(self.up(self.second_norm(x_BLD))))


class Transformer(nn.Module):  # type: ignore[misc]
    """Token ids -> scores of classes (an encoder, mean pooled) or of the next token (a causal decoder, its last place)."""

    def __init__(self, *, causal: bool, num_blocks: int = 4) -> None:
        super().__init__()
        self.causal = causal
        self.embedding = nn.Embedding(NUM_TOKENS, WIDTH)
        self.blocks = nn.ModuleList(Attention(causal=causal) for _ in range(num_blocks))
        self.head = nn.Linear(WIDTH, NUM_TOKENS if causal else NUM_CLASSES)

    def forward(self, input_ids: Any) -> Any:
        x_BLD = self.embedding(input_ids)
        for block in self.blocks:
            x_BLD = block(x_BLD)
        return self.head(x_BLD[:, -1] if self.causal else x_BLD.mean(1))


class Recurrent(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(NUM_TOKENS, WIDTH), nn.LSTM(WIDTH, 48, batch_first=True)
        self.head = nn.Linear(48, NUM_CLASSES)

    def forward(self, input_ids: Any) -> Any:
        hidden_BLD, _ = self.lstm(self.embedding(input_ids))
        return self.head(hidden_BLD.mean(1))


class Recommender(nn.Module):  # type: ignore[misc]
    """Whether this user takes this item: two tables and a small network."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(NUM_TOKENS, 16), nn.Embedding(NUM_TOKENS, 16)
        self.network = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, user: Any, item: Any) -> Any:
        return self.network(torch.cat([self.users(user), self.items(item)], dim=-1))


def _mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(12, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, NUM_CLASSES)
    )


@dataclass(frozen=True, kw_only=True)
class Family:
    make: Callable[[], nn.Module]
    inputs: tuple[TensorSpec, ...]


_IDS = (TensorSpec(name="input_ids", dtype="int64", shape=("batch", "length")),)
NETWORKS: Mapping[str, Family] = {
    "mlp": Family(make=_mlp, inputs=(TensorSpec(name="input", dtype="float32", shape=("batch", 12)),)),
    "cnn": Family(
        make=lambda: Residual(channels=16, num_classes=NUM_CLASSES),
        inputs=(TensorSpec(name="image", dtype="float32", shape=("batch", 1, 8, 8)),),
    ),
    "lstm": Family(make=Recurrent, inputs=_IDS),
    "encoder": Family(make=lambda: Transformer(causal=False), inputs=_IDS),
    "decoder": Family(make=lambda: Transformer(causal=True), inputs=_IDS),
    "recommender": Family(
        make=Recommender, inputs=tuple(TensorSpec(name=name, dtype="int64", shape=("batch",)) for name in ("user", "item"))
    ),
}
ESTIMATORS = ("tree", "forest", "logistic", "svm", "kmeans", "boosting")
NAMES = (*NETWORKS, *ESTIMATORS)


def source(name: str, directory: Path) -> Pipeline:
    """One of NAMES, snapshotted into the new folder `directory`: form torch, or sklearn for an estimator."""
    directory.mkdir(parents=True)
    if name in ESTIMATORS:
        return sklearn_form.snapshot(estimator(name), directory)
    family = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = family.make().eval()
    example = {spec.name: np.stack(list(rows(spec, 2, 0))) for spec in family.inputs}
    return torch_form.snapshot(module, family.inputs, example, directory)


def context(pipeline: Pipeline) -> Context:
    """Calibration batches of two and the whole calibrate split; a train split with the labels that the original gives."""
    calibrate, train = dataset(pipeline, NUM_CALIBRATE, 1), dataset(pipeline, NUM_TRAIN, 2)
    feeds = tuple(feeds_of(pipeline, calibrate.requests, 1))
    return Context(calibration=feeds[:24], calibrate=calibrate, train=train, original=pipeline)


def dataset(pipeline: Pipeline, n: int, seed: int) -> Dataset:
    """n items, labelled by the model's own arg max where it scores classes."""
    columns: tuple[Column, ...] = tuple(rows(spec, n, seed + 10 * i) for i, spec in enumerate(pipeline.inputs))
    answers = _answers(pipeline, Dataset(columns=columns).requests)
    return Dataset(columns=columns, labels=answers.argmax(1) if answers.ndim == 2 else answers)


def rows(spec: TensorSpec, n: int, seed: int) -> Column:
    """n values of one input: token ids of their own lengths, ids, pixels of digits, or normal values."""
    draw = np.random.default_rng(seed)
    if spec.name == "X":
        from sklearn.datasets import load_digits

        digits: Array = load_digits().data.astype(np.float32)
        return digits[draw.permutation(len(digits))[:n]]
    if "length" in spec.shape:
        ids = np.empty(n, object)  # texts of their own lengths; the two of an example of one length
        ids[:] = [draw.integers(0, NUM_TOKENS, 4 + int(draw.integers(8)) * (n > 2)) for _ in range(n)]
        return ids
    if spec.dtype == "int64":
        return draw.integers(0, NUM_TOKENS, n)
    return draw.standard_normal((n, *(int(size) for size in spec.shape[1:]))).astype(np.float32)


@functools.cache
def estimator(name: str) -> Any:
    """Fitted on half of scikit-learn's digits."""
    from sklearn.cluster import KMeans
    from sklearn.datasets import load_digits
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    features, labels = load_digits(return_X_y=True)
    made = {
        "tree": DecisionTreeClassifier(random_state=0),
        "forest": RandomForestClassifier(20, random_state=0),
        "logistic": LogisticRegression(max_iter=2000),
        "svm": SVC(random_state=0),
        "kmeans": KMeans(10, random_state=0, n_init=1),
        "boosting": HistGradientBoostingClassifier(max_iter=4, random_state=0),
    }
    return made[name].fit(features[::2].astype(np.float32), labels[::2])


def _answers(pipeline: Pipeline, requests: list[tuple[Any, ...]]) -> Array:
    """Texts of several lengths are asked one by one: there is no mask, so that padding would count."""
    varies = any("length" in spec.shape for spec in pipeline.inputs)
    batches = feeds_of(pipeline, requests, 1 if varies else ANSWER_BATCH)
    if pipeline.form == "sklearn":
        model = sklearn_form.load(pipeline)
        return np.concatenate([sklearn_form.ask(model, feeds)[0] for feeds in batches])
    session = torch_form.TorchSession(torch_form.load(pipeline), pipeline.inputs, threads=1)
    return np.concatenate([session.run(feeds)[0] for feeds in batches])
