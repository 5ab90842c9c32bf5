"""Small real models, made on the spot from a seed: what the contract suites of models' forms run on."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.forms import sklearn_form, torch_form
from farthing.model_sources.base import ModelSource
from farthing.pipeline import feeds_of, synthetic
from farthing.types import Array, Context, MemberRef, Pipeline, TensorSpec

WORDS = ("the", "a", "cat", "dog", "bird", "sat", "ran", "flew", "on", "under", "mat", "house", "tree", "and", "slept", "sun")
TEXTS = [(" ".join(WORDS[i % 7 :: 1 + i % 3][: 3 + i % 9]),) for i in range(24)]


class Residual(nn.Module):  # type: ignore[misc]
    """Two convolutions with batch norms, whose statistics are not those of a fresh layer, around a shortcut."""

    def __init__(self, channels: int = 8, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.first, self.second = nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, channels, 3, padding=1)
        self.first_norm, self.second_norm = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, num_classes)
        for norm in (self.first_norm, self.second_norm):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)

    def forward(self, image: Any) -> Any:
        x_BCHW = torch.relu(self.stem(image))
        y_BCHW = torch.relu(self.first_norm(self.first(x_BCHW)))
        x_BCHW = torch.relu(x_BCHW + self.second_norm(self.second(y_BCHW)))
        return self.head(x_BCHW.mean((2, 3)))


def mlp() -> tuple[nn.Module, Array]:
    """(module, example input)"""
    return _seeded(lambda: nn.Sequential(nn.Linear(12, 32), nn.GELU(), nn.Linear(32, 5))), np.zeros((2, 12), np.float32)


def cnn() -> tuple[nn.Module, Array]:
    """(module, example input)"""
    return _seeded(Residual), np.zeros((2, 1, 8, 8), np.float32)


def encoder_folder(directory: Path, head: str = "BertModel", **config: Any) -> Path:
    """A BERT of two layers with its tokenizer, saved as transformers saves it; `head` is the class that is saved."""
    import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    tokenizer = _tokenizer(directory)
    settings = transformers.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **(sizes | config))
    _seeded(lambda: getattr(transformers, head)(settings)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@functools.cache
def estimator(name: str) -> Any:
    """forest, logistic (behind a scaler), hist (gradient boosting) or ridge (a regressor), fitted on digits."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels = load_digits(return_X_y=True)
    made: Mapping[str, Any] = {
        "forest": RandomForestClassifier(5, max_depth=6, random_state=0),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
        "hist": HistGradientBoostingClassifier(max_iter=3, max_depth=3, random_state=0),
        "ridge": Ridge(),
    }
    return made[name].fit(features.astype(np.float32), labels)


def pipeline(name: str, directory: Path) -> Pipeline:
    """mlp, cnn, encoder, or the name of an estimator, snapshotted into the new folder `directory`."""
    directory.mkdir(parents=True)
    if name == "encoder":
        folder = encoder_folder(directory.with_name(f"{directory.name}_source"))
        knobs = (("path", str(folder)), ("normalize", True))
        return plugins.make(ModelSource, MemberRef(name="huggingface", knobs=knobs)).snapshot(directory, trust=False)  # type: ignore[type-abstract]
    if name not in ("mlp", "cnn"):
        return sklearn_form.snapshot(estimator(name), directory)
    module, example = {"mlp": mlp, "cnn": cnn}[name]()
    inputs = (TensorSpec(name="input" if name == "mlp" else "image", dtype="float32", shape=("batch", *example.shape[1:])),)
    return torch_form.snapshot(module, inputs, {inputs[0].name: example}, directory)


def context(source: Pipeline) -> Context:
    """Twelve calibration batches of two: texts of several lengths, or random values."""
    if source.tokenizer is not None:
        return Context(calibration=tuple(feeds_of(source, TEXTS, 2)))
    return Context(calibration=tuple(synthetic(source, 2, 1, seed) for seed in range(12)))


def in_form(name: str, form: str, directory: Path) -> Pipeline:
    """The sample `name` in `form`, through as many conversions as that takes; `directory` is new or holds it already."""
    current = pipeline(name, directory / "original")
    for number, step in enumerate(_route(current.form, form)):
        conversion = plugins.load(Conversion, step)()  # type: ignore[type-abstract]
        current = conversion.convert(current, directory / f"{number}_{step}", context(current))
    return current


def _route(start: str, end: str) -> list[str]:
    """The fewest conversions from one form to another."""
    edges = [plugins.load(Conversion, name) for name in plugins.names(Conversion)]  # type: ignore[type-abstract]
    routes: dict[str, list[str]] = {start: []}
    while end not in routes:
        reached = dict(routes)
        for edge in edges:
            if edge.source in routes:
                reached.setdefault(edge.target, [*routes[edge.source], edge.__module__.rpartition(".")[2]])
        assert len(reached) > len(routes), f"no conversions lead from {start} to {end}"
        routes = reached
    return routes[end]


def _seeded(make: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


def _tokenizer(directory: Path) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    directory.mkdir(parents=True, exist_ok=True)
    ids = {word: i for i, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64)
