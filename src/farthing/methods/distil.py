"""Method: what a cut model has lost is learned back from the original's answers to the train split."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from farthing.errors import BuildError
from farthing.methods.base import Family, Method, too_little_to_learn
from farthing.results import Profile
from farthing.types import Array, Context, Feeds, Pipeline

if TYPE_CHECKING:
    import torch

    from farthing.training.distances import Distance
    from farthing.training.lessons import Lesson
    from farthing.training.matching import Learner, Matching


@dataclass(frozen=True, slots=True, kw_only=True)
class Distil(Method):
    """Minimizes the distance of the student's answers z_s to the original's z_t, and to the labels y, over the train split:

    soft, (1 - a) H(y, s(z_s)) + a T^2 H(s(z_t / T), s(z_s / T)) (Hinton et al., arXiv 1503.02531); forward or reverse,
    -log s(z_s)_y + a T^2 KL, of s(z_t / T) from s(z_s / T) or the other way. Without labels the term of y is left out; what is
    no class is compared as a direction or a number (`training.distances`).

    hidden, attention: weights of what is added for blocks that compute differently (`training.matching`): their hidden states
    (TinyBERT, arXiv 1909.10351), and the relations of their attention (MiniLM, arXiv 2002.10957) or, of convolutions, where
    they look (arXiv 1612.03928). 0: not looked at.
    temperature: T. soft: a. num_items: so many requests of the train split at most, drawn by the seed. epochs, learning_rate:
    see `training.Schedule`.
    """

    epochs: int = 3
    learning_rate: float = 3e-4
    num_items: int = 8000
    divergence: str = "soft"
    temperature: float = 2.0
    soft: float = 0.9
    hidden: float = 0.0
    attention: float = 0.0

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"cut", "float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"distilled"})
    drops: ClassVar[frozenset[str]] = frozenset({"cut"})
    family: ClassVar[Family] = "repair"

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        if self.hidden < 0 or self.attention < 0:
            raise BuildError(f"distil: hidden and attention are weights of 0 or more, not {self.hidden:g}, {self.attention:g}")
        if context.original is None or not len(context.train):
            raise BuildError("distil: it learns from the train split, which is empty: give the job one (splits: train = 0.5)")
        try:
            student = self._taught(source, context, context.original)
        except BuildError as error:
            raise BuildError(str(error) if str(error).startswith("distil") else f"distil: {error}") from error
        from farthing.forms import torch_form

        return torch_form.derive(student, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return too_little_to_learn(profile) or (cls(),)

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0  # it only repairs

    def _taught(self, source: Pipeline, context: Context, original: Pipeline) -> "torch.nn.Module":
        import torch

        from farthing.forms import torch_form
        from farthing.training import Schedule, fit
        from farthing.training.distances import Likeness, check_alike
        from farthing.training.lessons import lesson
        from farthing.training.matching import Matching

        torch.set_num_threads(context.threads)

        def ask(module: torch.nn.Module, feeds: Feeds) -> torch.Tensor:
            return torch_form.first(module(*torch_form.tensors(feeds, source.inputs))).float()

        student, teacher = torch_form.load(source), torch_form.load(original)
        taught = lesson(source, context, teacher, ask, num_items=self.num_items)
        probe = taught.feeds(np.arange(min(2, len(taught))))
        with torch.no_grad():
            check_alike(ask(student, probe), taught.answers)
        distance = Likeness(divergence=self.divergence, temperature=self.temperature, weight=self.soft).to(
            taught.answers, taught.labels
        )
        schedule = Schedule(epochs=self.epochs, learning_rate=self.learning_rate, seed=context.seed)
        how: dict[str, Any] = {"schedule": schedule, "checkpoints": context.checkpoints, "tell": context.tell}
        if not (self.hidden or self.attention):
            fit(student, _answers_alone(taught, distance), taught.lengths, **how)
            return student
        matching = Matching(teacher, ask, hidden=self.hidden, attention=self.attention)
        learner = matching.learner(student, probe, context.seed)
        loss = _answers_and_blocks(taught, distance, matching)
        fit(learner, loss, taught.lengths, **how)
        return learner.student


def _answers_alone(lesson: "Lesson", distance: "Distance") -> Callable[["torch.nn.Module", Array], "torch.Tensor"]:
    return lambda module, items: distance(lesson.ask(module, lesson.feeds(items)), items)


def _answers_and_blocks(
    lesson: "Lesson", distance: "Distance", matching: "Matching"
) -> Callable[["Learner", Array], "torch.Tensor"]:
    def loss(learner: "Learner", items: Array) -> "torch.Tensor":
        answers, apart = matching.loss(learner, lesson.feeds(items))
        return distance(answers, items) + apart

    return loss
