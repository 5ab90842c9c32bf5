"""Method: the smallest weights become zeros; what that costs is learned back under the mask."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Family, Method, bytes_are_free, epochs_for, too_little_to_learn
from farthing.results import Profile
from farthing.types import Context, Pipeline

if TYPE_CHECKING:
    from torch import nn

    from farthing.training.sparse import Masked


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneWeights(Method):
    """w <- w [|w| > t]: magnitude pruning (Han et al., arXiv 1506.02626), of matrices; biases and norms stay.

    The threshold t leaves a share `sparsity` of zeros, in each layer or, with scope = global, in all together; or it is
    `threshold` itself; or, with pattern = "2:4", of every 4 neighbours along the inputs the 2 largest are kept. Give one of the
    three and set sparsity = 0 for the others. With epochs > 0 the zeros become more step by step while the train split is
    learned from (Zhu & Gupta, arXiv 1710.01878; see `training.sparse`).
    A dense kernel multiplies by zeros as fast as by other numbers: this saves bytes once they are coded, and no time.
    num_items, learning_rate, batch_size: see `training.Schedule`.
    """

    sparsity: float = 0.8
    scope: str = "layer"
    threshold: float = 0.0
    pattern: str = ""
    epochs: int = 3
    learning_rate: float = 5e-4
    batch_size: int = 32
    num_items: int = 8000

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"pruned"})
    family: ClassVar[Family] = "storage"
    stands_alone: ClassVar[bool] = False

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        self._check()
        if self.epochs and not len(context.train):
            raise BuildError("prune_weights: it learns from the train split, which is empty: give one, or set epochs = 0")
        import torch

        from farthing.forms import torch_form

        module = torch_form.load(source)
        masked = self._learned(module, source, context) if self.epochs else self._masked(module, 0)
        with torch.no_grad():
            for name, mask in masked.masks().items():
                if not bool(mask.any()):
                    raise BuildError(f"prune_weights: nothing of {name} is left. Take less, or set scope = layer.")
                masked.module.get_parameter(name).mul_(mask)
        return torch_form.derive(module, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        if reason := bytes_are_free(profile):
            return reason
        if too_little_to_learn(profile):
            return (cls(sparsity=0.5, epochs=0),)
        return tuple(cls(sparsity=share, epochs=epochs_for(profile, 3)) for share in (0.8, 0.9))

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0

    def _check(self) -> None:
        if sum(map(bool, (self.sparsity, self.threshold, self.pattern))) != 1:
            raise BuildError("prune_weights: give one of sparsity, threshold and pattern (and sparsity = 0 with the others)")
        if not 0.0 <= self.sparsity < 1.0:
            raise BuildError(f"prune_weights: sparsity is a share of zeros above 0 and below 1, not {self.sparsity:g}")
        if self.scope not in ("layer", "global"):
            raise BuildError(f"prune_weights: scope is layer or global, not {self.scope!r}")
        if self.threshold < 0.0 or self.epochs < 0:
            raise BuildError(f"prune_weights: threshold and epochs are 0 or more, not {self.threshold:g}, {self.epochs}")
        _kept_of(self.pattern)

    def _learned(self, module: "nn.Module", source: Pipeline, context: Context) -> "Masked":
        from farthing.training import Schedule
        from farthing.training.relearning import relearn

        schedule = Schedule(
            epochs=self.epochs, learning_rate=self.learning_rate, batch_size=self.batch_size, seed=context.seed,
            patience=self.epochs,  # weights still become zero on the way: an epoch with fewer zeros is no rival of the last
        )  # fmt: skip
        try:
            return relearn(lambda steps, _: self._masked(module, steps), source, context, schedule, num_items=self.num_items)
        except BuildError as error:
            raise BuildError(str(error) if str(error).startswith("prune_weights") else f"prune_weights: {error}") from error

    def _masked(self, module: "nn.Module", num_steps: int) -> "Masked":
        from farthing.forms.weights import matrices
        from farthing.training.sparse import Masked, Rule

        pattern = _kept_of(self.pattern)
        names = [
            name for name, weight in matrices(module, "prune_weights").items()
            if pattern is None or weight[0].numel() % pattern[1] == 0
        ]  # fmt: skip
        if not names:
            raise BuildError(
                f"prune_weights: no layer of {type(module).__name__} has inputs that groups of {self.pattern} fill"
            )
        rule = Rule(sparsity=self.sparsity, globally=self.scope == "global", threshold=self.threshold, pattern=pattern)
        return Masked(module, names, rule, num_steps=num_steps)


def _kept_of(pattern: str) -> tuple[int, int] | None:
    """(n, m) of "n:m"; None where there is no pattern."""
    if not pattern:
        return None
    kept, _, size = pattern.partition(":")
    if not (kept.isdigit() and size.isdigit() and 0 < int(kept) < int(size)):
        raise BuildError(f'prune_weights: a pattern is n:m with 0 < n < m, such as "2:4", not {pattern!r}')
    return int(kept), int(size)
