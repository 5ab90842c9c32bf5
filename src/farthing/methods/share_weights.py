"""Method: the weights of each layer take few values; the values, or the weights too, learn from the train split."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Family, Method, bytes_are_free, epochs_for, too_little_to_learn
from farthing.results import Profile
from farthing.types import Context, Pipeline

if TYPE_CHECKING:
    import torch
    from torch import nn

    from farthing.training.sharing import Shared

MOST_CLUSTERS = 256
HALF_RANGE = (1e-2, 6e4)  # of the largest size, for which float16 holds all levels to a 2,000th of it


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareWeights(Method):
    """w <- level_a(w), a(w) the nearest of at most `clusters` levels of its layer, 0 one of them where the layer has zeros.

    Levels by k-means on a line (Deep Compression, Han et al., arXiv 1510.00149: linear initialization; zeros stay zero). With
    epochs > 0 and entropy = 0 the levels learn from the train split, weights staying where they were put. With entropy > 0 the
    weights learn too, under a price on what a coder takes for them: the loss is
    mean loss + entropy ln 2 (bits of all weights) / (number of items), which is a two-part description length at entropy = 1
    (see `training.sharing`). It makes zeros by itself.
    vectors: biases and norms are shared as well, which pays in very small models only.
    num_items, learning_rate, batch_size: see `training.Schedule`.
    """

    clusters: int = 16
    entropy: float = 0.0
    vectors: bool = False
    epochs: int = 3
    learning_rate: float = 5e-4
    batch_size: int = 32
    num_items: int = 8000

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"packed"})
    drops: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    family: ClassVar[Family] = "storage"
    stands_alone: ClassVar[bool] = False

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        self._check(context)
        from farthing.forms import torch_form
        from farthing.forms.packed import Packed, PackedTensor

        module = torch_form.load(source)
        shared = self._learned(module, source, context) if self.epochs else self._shared(module)
        tensors = {}
        for number, name in enumerate(shared.names):
            levels, codes = shared.levels[number].detach(), shared.codes(number)
            bits = max(1, math.ceil(math.log2(len(levels))))
            tensors[name] = PackedTensor.of(codes, bits, levels.new_ones(1, 1), levels=_short(levels))
        return torch_form.derive(Packed(module, tensors), source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        if reason := bytes_are_free(profile):
            return reason
        if too_little_to_learn(profile):
            return (cls(clusters=32, epochs=0),)
        priced = cls(clusters=5, entropy=0.02, epochs=epochs_for(profile, 10), learning_rate=1e-3)
        return cls(clusters=16, epochs=epochs_for(profile, 3)), priced

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0

    def _check(self, context: Context) -> None:
        if not 2 <= self.clusters <= MOST_CLUSTERS:
            raise BuildError(f"share_weights: weights share 2 to {MOST_CLUSTERS} values, not {self.clusters}")
        if self.entropy < 0.0 or self.epochs < 0:
            raise BuildError(f"share_weights: entropy and epochs are 0 or more, not {self.entropy:g}, {self.epochs}")
        if self.entropy and (self.clusters < 3 or not self.epochs):
            raise BuildError("share_weights: entropy is paid while it learns (epochs > 0), with zero and two levels at least")
        if self.epochs and not len(context.train):
            raise BuildError("share_weights: it learns from the train split, which is empty: give one, or set epochs = 0")

    def _learned(self, module: "nn.Module", source: Pipeline, context: Context) -> "Shared":
        from farthing.training import Schedule
        from farthing.training.relearning import relearn

        schedule = Schedule(
            epochs=self.epochs, learning_rate=self.learning_rate, batch_size=self.batch_size, patience=self.epochs,
            seed=context.seed,
        )  # fmt: skip

        def make(num_steps: int, num_items: int) -> "Shared":
            return self._shared(module, self.entropy * math.log(2) / num_items, num_steps)

        try:
            return relearn(
                make, source, context, schedule, num_items=self.num_items, price=lambda learner: learner.price * learner.bits
            )
        except BuildError as error:
            raise BuildError(str(error) if str(error).startswith("share_weights") else f"share_weights: {error}") from error

    def _shared(self, module: "nn.Module", price: float = 0.0, num_steps: int = 0) -> "Shared":
        from farthing.forms.weights import matrices
        from farthing.training.sharing import Shared

        found = matrices(module, "share_weights", vectors=self.vectors)
        return Shared(module, {n: self._levels(w.detach()) for n, w in found.items()}, price=price, num_steps=num_steps)

    def _levels(self, weight: "torch.Tensor") -> "torch.Tensor":
        import numpy as np
        import torch

        from farthing.forms.clusters import k_means, spread

        values = weight.float().flatten().numpy()
        if self.entropy:
            return torch.from_numpy(spread(values, self.clusters)).float()
        told = values[values != 0]
        if len(told) == len(values):
            return torch.from_numpy(k_means(values, self.clusters)).float()
        return torch.from_numpy(np.concatenate([[0.0], k_means(told, self.clusters - 1)])).float()


def _short(levels: "torch.Tensor") -> "torch.Tensor":
    """In float16 where that loses next to nothing."""
    fits = HALF_RANGE[0] < float(levels.abs().max()) < HALF_RANGE[1]
    return levels.half() if fits else levels
