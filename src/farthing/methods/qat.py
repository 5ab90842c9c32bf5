"""Method: weights learn from the original's answers while they are rounded, and end where rounding hurts little."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from farthing.errors import BuildError
from farthing.methods.base import Method, bytes_are_free, kept_in_float, too_little_to_learn
from farthing.results import Profile
from farthing.types import Array, Context, Feeds, Pipeline

if TYPE_CHECKING:
    import torch

    from farthing.forms.grids import Grid

GRIDS = ("linear", "power_of_two", "ternary", "binary")


@dataclass(frozen=True, slots=True, kw_only=True)
class Qat(Method):
    """Minimizes how far the answers with rounded weights Q(w) are from the original's and the labels, over the train split:

    (1 - a) H(y, s(z)) + a T^2 H(s(z_t / T), s(z / T)) where they are classes (`training.distances`), by gradients that pass
    the rounding as if it were not there, dQ/dw = 1 (Bengio et al., arXiv 1308.3432).

    grid: linear, with a learned step for each filter (LSQ, arXiv 1902.08153); power_of_two (arXiv 1603.01025); ternary (TWN,
    arXiv 1605.04711); binary (XNOR-Net, arXiv 1603.05279, weights alone): the last three are fitted anew to w at each step.
    bits: of linear (2 to 8) and power_of_two (2 to 6). Weights of recurrent layers stay in float.
    keep_float: so many layers, the most sensitive ones, keep float weights and learn with the rest.
    The result is stored packed and runs as that of the member which rounds without learning; nothing else of it is changed.
    epochs, learning_rate: see `training.Schedule`. num_items: so many requests of the train split at most.
    """

    grid: str = "linear"
    bits: int = 4
    keep_float: int = 0
    epochs: int = 3
    learning_rate: float = 1e-3
    num_items: int = 8000

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"packed"})
    drops: ClassVar[frozenset[str]] = frozenset({"float_weights"})

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        if context.original is None or not len(context.train):
            raise BuildError("qat: it learns from the train split, which is empty: give the job one (splits: train = 0.5)")
        from farthing.forms import torch_form

        try:
            learned = self._learned(source, context, context.original)
        except BuildError as error:
            raise BuildError(str(error) if str(error).startswith("qat") else f"qat: {error}") from error
        return torch_form.derive(learned, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return bytes_are_free(profile) or too_little_to_learn(profile) or (cls(bits=4), cls(bits=2))

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0

    def _learned(self, source: Pipeline, context: Context, original: Pipeline) -> "torch.nn.Module":
        import torch

        from farthing.forms import grids, straight_through, torch_form
        from farthing.training import Schedule, fit
        from farthing.training.distances import Likeness, check_alike
        from farthing.training.lessons import lesson

        torch.set_num_threads(context.threads)

        def ask(module: torch.nn.Module, feeds: Feeds) -> torch.Tensor:
            return torch_form.first(module(*torch_form.tensors(feeds, source.inputs))).float()

        student = torch_form.load(source)
        kept = kept_in_float(self.keep_float, context, grids.layers(student, "qat"))
        rounded = straight_through.round_weights(student, self._grid(), "qat", but=kept)
        taught = lesson(source, context, torch_form.load(original), ask, num_items=self.num_items)
        with torch.no_grad():
            check_alike(ask(student, taught.feeds(np.arange(min(2, len(taught))))), taught.answers)
        distance = Likeness().to(taught.answers, taught.labels)

        def loss(module: torch.nn.Module, items: Array) -> torch.Tensor:
            return distance(ask(module, taught.feeds(items)), items)

        schedule = Schedule(epochs=self.epochs, learning_rate=self.learning_rate, seed=context.seed)
        fit(student, loss, taught.lengths, schedule=schedule, checkpoints=context.checkpoints, tell=context.tell)
        return straight_through.settled(student, rounded)

    def _grid(self) -> "Grid | int":
        """The grid, or the bits of learned steps."""
        from farthing.forms import grids

        if self.grid not in GRIDS:
            raise BuildError(f"qat: grid is one of {', '.join(GRIDS)}, not {self.grid!r}")
        if self.grid in ("linear", "power_of_two"):
            grids.check_bits("qat", self.bits, 2, 8 if self.grid == "linear" else 6)
        fitted: dict[str, Grid] = {"power_of_two": grids.PowerOfTwo(bits=self.bits), "ternary": grids.Ternary()}
        return self.bits if self.grid == "linear" else fitted.get(self.grid, grids.Binary())
