"""A lesson: requests of the train split, encoded, with their labels and what the original answers to them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from farthing import pipeline as pipelines
from farthing.errors import BuildError
from farthing.types import Array, Context, Dataset, Feeds, Pipeline

ANSWER_BATCH = 64

Ask = Callable[[nn.Module, Feeds], torch.Tensor]  # what a module answers to one batch, in float32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    pipeline: Pipeline
    encoded: tuple[tuple[Array, ...], ...]
    lengths: Array  # (n,) tokens of each item; ones where lengths do not vary
    labels: Array | None
    answers: torch.Tensor  # (n, ...) the original's
    ask: Ask

    def __len__(self) -> int:
        return len(self.encoded)

    def feeds(self, items: Array) -> Feeds:
        return pipelines.collate(self.pipeline, [self.encoded[i] for i in items])

    def take(self, items: Array) -> "Lesson":
        return replace(
            self,
            encoded=tuple(self.encoded[i] for i in items),
            lengths=self.lengths[items],
            labels=None if self.labels is None else self.labels[items],
            answers=self.answers[torch.from_numpy(items)],
        )

    def answers_of(self, module: nn.Module) -> torch.Tensor:
        """(n, ...) what this module answers to every item; batches are of like length."""
        return _answers(module, self.pipeline, self.encoded, self.lengths, self.ask)


def lesson(source: Pipeline, context: Context, original: nn.Module, ask: Ask, *, num_items: int) -> Lesson:
    """At most `num_items` requests of the train split, drawn by the context's seed. Raises BuildError if it is empty."""
    if not len(context.train):
        raise BuildError("it learns from the train split, which is empty: give the job one (splits: train = 0.5)")
    if num_items < 1:
        raise BuildError(f"num_items is how much of the train split is learned from: at least 1, not {num_items}")
    requests, labels = _drawn(context.train, num_items, context.seed)
    encoded = tuple(pipelines.encode(source, requests))
    lengths = np.array([pipelines.length(one, source) for one in encoded])
    answers = _answers(original, source, encoded, lengths, ask)
    if not torch.isfinite(answers).all():
        wrong = int((~torch.isfinite(answers.flatten(1)).all(1)).nonzero()[0])
        raise BuildError(f"the original answers NaN or infinity to item {wrong} of those it learns from. Remove such items.")
    return Lesson(pipeline=source, encoded=encoded, lengths=lengths, labels=labels, answers=answers, ask=ask)


def halves(num_items: int, share: float, seed: int) -> tuple[Array, Array]:
    """(the items to learn from, `share` of them held out), each in order."""
    order = np.random.default_rng(seed).permutation(num_items)
    num_held_out = max(1, round(share * num_items))
    return np.sort(order[num_held_out:]), np.sort(order[:num_held_out])


def _drawn(train: Dataset, most: int, seed: int) -> tuple[list[tuple[object, ...]], Array | None]:
    """Requests, and their labels where each has one of its own: a pair's label is about both of its texts."""
    requests, labels = train.requests, None if train.pair else train.labels
    drawn = np.sort(np.random.default_rng(seed).permutation(len(requests))[:most])
    return [requests[i] for i in drawn], None if labels is None else labels[drawn]


def _answers(
    module: nn.Module, source: Pipeline, encoded: tuple[tuple[Array, ...], ...], lengths: Array, ask: Ask
) -> torch.Tensor:
    order = np.argsort(lengths, kind="stable")
    parts = []
    with torch.no_grad():
        for start in range(0, len(order), ANSWER_BATCH):
            parts.append(ask(module, pipelines.collate(source, [encoded[i] for i in order[start : start + ANSWER_BATCH]])))
    return torch.cat(parts)[torch.from_numpy(np.argsort(order, kind="stable"))]
