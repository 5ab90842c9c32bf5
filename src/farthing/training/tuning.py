"""tune(): a few epochs that bring a changed module nearer to the original's answers to the train split, between two cuts."""

import torch
from torch import nn

from farthing.forms import torch_form
from farthing.training.distances import Likeness
from farthing.training.lessons import lesson
from farthing.training.loop import Schedule, fit
from farthing.types import Array, Context, Feeds, Pipeline

NUM_ITEMS = 8000  # of the train split at most


def tune(module: nn.Module, source: Pipeline, context: Context, schedule: Schedule, *, name: str) -> None:
    """Fit `module` in place to soft labels of the original (`Likeness`); it is left in eval mode, without gradients.

    `name` tells the trainings of one method apart in `context.checkpoints`. Raises BuildError for a train split that is empty
    or too small, and where training diverges.
    """
    torch.set_num_threads(context.threads)

    def ask(asked: nn.Module, feeds: Feeds) -> torch.Tensor:
        return torch_form.first(asked(*torch_form.tensors(feeds, source.inputs))).float()

    teacher = torch_form.load(source if context.original is None else context.original)
    taught = lesson(source, context, teacher, ask, num_items=NUM_ITEMS)
    distance = Likeness().to(taught.answers, taught.labels)

    def loss(asked: nn.Module, items: Array) -> torch.Tensor:
        return distance(ask(asked, taught.feeds(items)), items)

    checkpoints = None if context.checkpoints is None else context.checkpoints / name
    fit(module, loss, taught.lengths, schedule=schedule, checkpoints=checkpoints)
