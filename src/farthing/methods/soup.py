"""Method: a cut model is taught several times, and the weights of what comes out are averaged, or their answers taught."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from farthing.errors import BuildError
from farthing.methods.base import Family, Method
from farthing.results import Profile
from farthing.types import Array, Context, Feeds, Pipeline

if TYPE_CHECKING:
    import torch

    from farthing.training.lessons import Lesson

MERGES = ("greedy", "uniform", "ensemble")
MOST_MODELS = 10
HELD_OUT = 0.1  # of the items: they choose between averages, and no model has learned from them
SPREAD = 2.0  # between the least learning rate and the greatest: wider apart, an average of weights is worse than each of them
Score = Callable[["torch.nn.Module"], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Soup(Method):
    """w = (1 / |S|) sum of w_i, i in S; w_i are copies of the cut model, taught soft labels as `distil` does, each by its own
    order of items and learning rate.

    uniform: S is all of them. greedy: the best on held-out items of the train split first, then each that leaves the average's
    held-out loss no greater (model soups, Wortsman et al., arXiv 2203.05482, recipe 1). ensemble: no weights are averaged; one
    more copy is taught the mean of what all answer, of classes the mean of their probabilities (arXiv 1503.02531, section 3).
    Statistics of batch norms are averaged as weights are. It takes num_models times the training of `distil` (ensemble: once
    more).
    """

    num_models: int = 3
    merge: str = "greedy"
    epochs: int = 3
    learning_rate: float = 3e-4
    num_items: int = 8000

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"cut", "float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"distilled"})
    drops: ClassVar[frozenset[str]] = frozenset({"cut"})
    family: ClassVar[Family] = "repair"

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        if not 2 <= self.num_models <= MOST_MODELS:
            raise BuildError(f"soup: it averages 2 to {MOST_MODELS} models, not {self.num_models}")
        if self.merge not in MERGES:
            raise BuildError(f"soup: merge is one of {', '.join(MERGES)}, not {self.merge!r}")
        if context.original is None or not len(context.train):
            raise BuildError("soup: it learns from the train split, which is empty: give the job one (splits: train = 0.5)")
        try:
            module = self._cooked(source, context, context.original)
        except BuildError as error:
            raise BuildError(str(error) if str(error).startswith("soup") else f"soup: {error}") from error
        from farthing.forms import torch_form

        return torch_form.derive(module, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return (
            "it trains several models where distil trains one; that pays only where more epochs of distil no longer help, and "
            "then by half a point of accuracy (benchmarks/results/soup.md). Name it in a recipe to have it"
        )

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0  # it only repairs

    def _cooked(self, source: Pipeline, context: Context, original: Pipeline) -> "torch.nn.Module":
        import torch

        from farthing.forms import torch_form
        from farthing.training.distances import Likeness, check_alike
        from farthing.training.lessons import halves, lesson

        torch.set_num_threads(context.threads)

        def ask(module: torch.nn.Module, feeds: Feeds) -> torch.Tensor:
            return torch_form.first(module(*torch_form.tensors(feeds, source.inputs))).float()

        taught = lesson(source, context, torch_form.load(original), ask, num_items=self.num_items)
        with torch.no_grad():
            check_alike(ask(torch_form.load(source), taught.feeds(np.arange(min(2, len(taught))))), taught.answers)
        learned, held_out = (taught.take(items) for items in halves(len(taught), HELD_OUT, context.seed))
        models = [self._taught(source, learned, number, context) for number in range(self.num_models)]
        if self.merge == "ensemble":
            return self._taught(source, replace(learned, answers=_mean_answer(models, learned)), self.num_models, context)
        distance, everything = Likeness().to(held_out.answers, held_out.labels), np.arange(len(held_out))
        score: Score = lambda module: float(distance(held_out.answers_of(module), everything))  # noqa: E731
        return _greedy(models, score) if self.merge == "greedy" else averaged(models)

    def _taught(self, source: Pipeline, learned: "Lesson", number: int, context: Context) -> "torch.nn.Module":
        """The cut model when it has learned; `number` tells its order of items, its rate and its checkpoints."""
        from farthing.forms import torch_form
        from farthing.training import Schedule, fit
        from farthing.training.distances import Likeness

        distance = Likeness().to(learned.answers, learned.labels)
        rates = np.geomspace(self.learning_rate / SPREAD**0.5, self.learning_rate * SPREAD**0.5, self.num_models)
        rate = float(rates[number]) if number < self.num_models else self.learning_rate
        schedule = Schedule(epochs=self.epochs, learning_rate=rate, seed=context.seed + number)

        def loss(module: "torch.nn.Module", items: Array) -> "torch.Tensor":
            return distance(learned.ask(module, learned.feeds(items)), items)

        model: torch.nn.Module = torch_form.load(source)
        checkpoints = None if context.checkpoints is None else context.checkpoints / f"model{number}"
        fit(model, loss, learned.lengths, schedule=schedule, checkpoints=checkpoints, tell=context.tell)
        return model


def averaged(models: "list[torch.nn.Module]") -> "torch.nn.Module":
    """A copy of the first with the mean of all weights and statistics; counts are the first's."""
    import copy

    module = copy.deepcopy(models[0])
    states: list[Any] = [model.state_dict() for model in models]
    mean = {
        name: sum(state[name].double() for state in states).div(len(states)).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in states[0].items()
    }
    module.load_state_dict(mean)
    return module


def _greedy(models: "list[torch.nn.Module]", score: Score) -> "torch.nn.Module":
    first, *others = sorted(models, key=score)
    chosen, best, least = [first], first, score(first)
    for model in others:
        tried = averaged([*chosen, model])
        if (loss := score(tried)) <= least:
            chosen, best, least = [*chosen, model], tried, loss
    print(f"soup: {len(chosen)} of {len(models)} models averaged, held-out loss {least:.5g}")
    return best


def _mean_answer(models: "list[torch.nn.Module]", learned: "Lesson") -> "torch.Tensor":
    import torch

    from farthing.training.distances import class_labels

    answers = torch.stack([learned.answers_of(model) for model in models])
    if class_labels(learned.labels, learned.answers) is None:
        return answers.mean(0)
    return answers.softmax(-1).mean(0).clamp_min(1e-12).log()
