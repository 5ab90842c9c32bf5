"""relearn(): what a method does to weights is made good while it is done, by the original's answers to the train split."""

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from farthing.forms import torch_form
from farthing.training.distances import Likeness
from farthing.training.lessons import lesson
from farthing.training.loop import Schedule, fit
from farthing.types import Array, Context, Feeds, Pipeline

Learner = TypeVar("Learner", bound=nn.Module)


def relearn(
    make: Callable[[int, int], Learner],
    source: Pipeline,
    context: Context,
    schedule: Schedule,
    *,
    num_items: int,
    price: Callable[[Learner], float] = lambda _: 0.0,
) -> Learner:
    """`make(number of steps, number of items)` fitted to labels and to the original's answers (soft labels, see Likeness).

    The learner is called as the module itself is. `price` is added to its loss on held-out items. Every epoch is run: what
    changes with the steps has only then reached its end. Raises BuildError for a train split that is empty or too small.
    """
    torch.set_num_threads(context.threads)

    def ask(module: nn.Module, feeds: Feeds) -> torch.Tensor:
        return torch_form.first(module(*torch_form.tensors(feeds, source.inputs))).float()

    teacher = torch_form.load(source if context.original is None else context.original)
    taught = lesson(source, context, teacher, ask, num_items=num_items)
    distance = Likeness().to(taught.answers, taught.labels)
    num_learned_from = len(taught) - max(1, round(schedule.validation * len(taught)))
    learner = make(schedule.epochs * math.ceil(num_learned_from / schedule.batch_size), num_learned_from)
    told: dict[int, float] = {}

    def loss(module: Learner, items: Array) -> torch.Tensor:
        value = distance(ask(module, taught.feeds(items)), items)
        if module.training:
            told.clear()
            return value
        if not told:  # once for all batches of one look at the held-out items
            told[0] = price(module)
        return value + told[0]

    fit(learner, loss, np.asarray(taught.lengths), schedule=schedule, checkpoints=context.checkpoints, tell=context.tell)
    return learner
