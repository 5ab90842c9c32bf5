"""What is to be learned and how: tasks with their labels, checked; and the settings of an adaptation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from farthing import pipeline as pipelines
from farthing.errors import BuildError, DataError
from farthing.training.loop import FEWEST_ITEMS
from farthing.types import Array, Dataset, Pipeline

How = Literal["head", "unfreeze", "lora", "full"]
HOWS: tuple[How, ...] = ("head", "unfreeze", "lora", "full")
RATES = {"head": 3e-3, "unfreeze": 1e-4, "lora": 1e-3, "full": 1e-4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One kind of label. `num_outputs`: of a new head, a score a class (1: a number); None: the model's own head answers it.

    Labels (n,) are indices of classes; for an answer of one number, that number.
    """

    name: str
    data: Dataset
    num_outputs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """How the weights learn.

    head: the backbone is frozen; heads alone learn, on features that are computed once. unfreeze: that first, then all weights,
    the first layer at `lowest` times the rate of the last, geometrically between (ULMFiT, Howard & Ruder, arXiv 1801.06146).
    lora: W + (alpha / rank) B A with W frozen (Hu et al., arXiv 2106.09685), in every linear layer and convolution; added to W
    at the end. full: all weights at one rate.
    """

    how: How = "unfreeze"
    epochs: int = 4  # over the whole model; of the heads alone where how is head
    head_epochs: int = 30  # of the frozen phase
    learning_rate: float | None = None  # of the last phase; None: RATES
    batch_size: int = 32
    lowest: float = 0.1
    rank: int = 8
    alpha: int = 16
    seed: int = 0

    def check(self) -> None:
        """Raises BuildError naming the first setting that cannot be."""
        if self.how not in HOWS:
            raise BuildError(f"adapt: how = {self.how!r} is none of {', '.join(HOWS)}")
        least = {"epochs": 1, "head_epochs": 1, "batch_size": 1, "rank": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise BuildError(f"adapt: {name} = {getattr(self, name)}; it is at least {value}")
        for name in ("lowest", "alpha", "rate"):
            if not getattr(self, name) > 0:
                raise BuildError(f"adapt: {name} = {getattr(self, name):g}; it must be above 0")

    @property
    def rate(self) -> float:
        return RATES[self.how] if self.learning_rate is None else self.learning_rate


@dataclass(frozen=True, kw_only=True)
class Items:
    """All items of all tasks, one after the other: encoded inputs, which task each belongs to, and its label."""

    encoded: list[tuple[Array, ...]]
    lengths: Array  # (n,) tokens
    task: Array  # (n,) index of the task
    labels: Array  # (n,) float64
    widths: tuple[int, ...] = field(default=())  # of each task's answer

    def __len__(self) -> int:
        return len(self.encoded)

    @classmethod
    def of(cls, source: Pipeline, tasks: Sequence[Task]) -> "Items":
        requests: list[tuple[Any, ...]] = [request for task in tasks for request in task.data.requests]
        encoded = pipelines.encode(source, requests)
        labels = [np.asarray(task.data.labels, dtype=np.float64) for task in tasks]
        return cls(
            encoded=encoded,
            lengths=np.array([pipelines.length(one, source) for one in encoded]),
            task=np.repeat(np.arange(len(tasks)), [len(task.data) for task in tasks]),
            labels=np.concatenate(labels),
        )


def check(source: Pipeline, tasks: Sequence[Task]) -> None:
    """Raises BuildError for a model that cannot learn, DataError for tasks that cannot be learned, naming task and value."""
    if source.form != "torch" or "float_weights" not in source.traits:
        traits = ", ".join(sorted(source.traits)) or "no traits"
        raise BuildError(f"adapt: learning takes a torch model with float weights; this one is {source.form} with {traits}")
    if not tasks:
        raise DataError("adapt: there is no task to learn; give one at least")
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise DataError(f"adapt: two tasks have one name: {', '.join(names)}")
    for number, task in enumerate(tasks):
        if task.num_outputs is None and number:
            raise DataError(f"adapt: task {task.name!r} needs num_outputs; only the first may keep the model's own head")
        if task.num_outputs is not None and task.num_outputs < 1:
            raise DataError(f"adapt: task {task.name!r} has num_outputs = {task.num_outputs}; a head has 1 at least")
        _check_rows(task)


def check_labels(task: Task, width: int) -> None:
    """Raises DataError where the labels are no indices of `width` classes; one number (width 1) may be any."""
    labels = np.asarray(task.data.labels)
    if width == 1:
        return
    if (labels % 1).any():
        raise DataError(f"adapt: task {task.name!r} has labels that are no whole numbers, and its answer is {width} classes")
    if labels.min() < 0 or labels.max() >= width:
        raise DataError(
            f"adapt: task {task.name!r} has labels from {labels.min():g} to {labels.max():g}, and its answer is {width}"
            f" classes, 0 to {width - 1}: give the labels of these classes, or a new head (num_outputs)"
        )


def _check_rows(task: Task) -> None:
    data, what = task.data, f"adapt: task {task.name!r}"
    if data.pair:
        raise DataError(f"{what} is of pairs, whose label is about two answers; give it one text an item")
    if len(data) < FEWEST_ITEMS:
        raise DataError(f"{what} has {len(data)} items, and learning takes at least {FEWEST_ITEMS}: bring more rows")
    labels = data.labels
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "biuf":
        kind = "none" if labels is None else f"{labels.dtype} of shape {labels.shape}"
        raise DataError(f"{what} needs a number as the label of each item; it has {kind}")
    columns = {f"input {i + 1}": c for i, c in enumerate(data.columns)} | {"label": labels}
    for name, column in columns.items():
        if isinstance(column, np.ndarray) and column.dtype.kind == "f" and not np.isfinite(column).all():
            bad = ~np.isfinite(column.reshape(len(column), -1)).all(axis=1)
            raise DataError(f"{what}: {name} of {bad.sum()} items is NaN or infinite, item {int(bad.argmax()) + 1} first")
