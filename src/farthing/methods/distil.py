"""Method: what a cut model has lost is learned back from the original's answers to the train split."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from farthing import pipeline as pipelines
from farthing.errors import BuildError
from farthing.methods.base import Family, Method
from farthing.results import Profile
from farthing.types import Array, Context, Dataset, Pipeline

if TYPE_CHECKING:
    import torch

ANSWER_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Distil(Method):
    """Minimizes, over the train split, with z_s what the student answers and z_t what the original does:

    classes (labels that are indices of the answer's last axis): (1 - a) H(y, s(z_s)) + a T^2 H(s(z_t / T), s(z_s / T)), s the
    softmax (Hinton et al., arXiv 1503.02531); without labels a is 1. Vectors of 8 and more: 1 - cos(z_s, z_t). Anything else:
    (z_s - z_t)^2 over the variance of z_t.

    temperature: T. soft: a, the weight of the original's answers against the labels. num_items: so many requests of the train
    split at most, drawn by the seed. epochs, learning_rate: see `training.Schedule`.
    """

    epochs: int = 3
    learning_rate: float = 3e-4
    num_items: int = 8000
    temperature: float = 2.0
    soft: float = 0.9

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"cut", "float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"distilled"})
    drops: ClassVar[frozenset[str]] = frozenset({"cut"})
    family: ClassVar[Family] = "repair"

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        import torch

        from farthing.forms import torch_form
        from farthing.training import Schedule, fit

        if context.original is None or not len(context.train):
            raise BuildError("distil learns from the train split, which is empty: give the job one (splits: train = 0.5)")
        torch.set_num_threads(context.threads)
        requests, labels = _training(context.train, self.num_items, context.seed)
        encoded = pipelines.encode(source, requests)
        lengths = np.array([pipelines.length(e, source) for e in encoded])
        answers = _answers(context.original, encoded, lengths)
        student = torch_form.load(source).requires_grad_(True)
        distance = self._distance(labels, answers)

        def loss(module: "torch.nn.Module", items: Array) -> "torch.Tensor":
            feeds = pipelines.collate(source, [encoded[i] for i in items])
            return distance(torch_form.first(module(*torch_form.tensors(feeds, source.inputs))).float(), items)

        schedule = Schedule(epochs=self.epochs, learning_rate=self.learning_rate, seed=context.seed)
        fit(student, loss, lengths, schedule=schedule, checkpoints=context.checkpoints)
        return torch_form.derive(student, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return (cls(),) if profile.num_train else "there is no train split to learn from"

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0  # it only repairs

    def _distance(self, labels: Array | None, answers: "torch.Tensor") -> Callable[["torch.Tensor", Array], "torch.Tensor"]:
        from torch.nn import functional

        classes = answers.ndim == 2 and _are_classes(labels, answers.shape[1])
        if classes:
            assert labels is not None
            import torch

            truth, T = torch.from_numpy(labels.astype(np.int64)), self.temperature
            targets = (answers / T).softmax(-1)

            def soft_and_hard(got: "torch.Tensor", items: Array) -> "torch.Tensor":
                soft = functional.cross_entropy(got / T, targets[items]) * T**2
                return self.soft * soft + (1 - self.soft) * functional.cross_entropy(got, truth[items])

            return soft_and_hard
        if answers.ndim == 2 and answers.shape[1] >= 8:
            return lambda got, items: (1 - functional.cosine_similarity(got, answers[items], dim=-1)).mean()
        variance = answers.var().clamp_min(1e-12)
        return lambda got, items: ((got - answers[items]) ** 2).mean() / variance


def _training(train: Dataset, most: int, seed: int) -> tuple[list[tuple[Any, ...]], Array | None]:
    """Requests, and their labels where each has one of its own: a pair's label is about both of its texts."""
    requests, labels = train.requests, None if train.pair else train.labels
    drawn = np.sort(np.random.default_rng(seed).permutation(len(requests))[:most])
    return [requests[i] for i in drawn], None if labels is None else labels[drawn]


def _are_classes(labels: Array | None, width: int) -> bool:
    if labels is None or labels.dtype.kind not in "iu" or width < 2:
        return False
    return 0 <= int(labels.min()) <= int(labels.max()) < width


def _answers(original: Pipeline, encoded: list[tuple[Array, ...]], lengths: Array) -> "torch.Tensor":
    """(n, ...) the original's first output for every request."""
    import torch

    from farthing.forms import torch_form

    teacher = torch_form.load(original)
    order = np.argsort(lengths, kind="stable")
    parts = []
    with torch.no_grad():
        for start in range(0, len(order), ANSWER_BATCH):
            feeds = pipelines.collate(original, [encoded[i] for i in order[start : start + ANSWER_BATCH]])
            parts.append(torch_form.first(teacher(*torch_form.tensors(feeds, original.inputs))).float())
    return torch.cat(parts)[torch.from_numpy(np.argsort(order, kind="stable"))]
