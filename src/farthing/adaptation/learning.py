"""The phases of an adaptation: heads on frozen features, then what the setting lets move; each by training.fit."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from farthing import pipeline as pipelines
from farthing.adaptation.lora import LowRankUpdates
from farthing.adaptation.modules import Offsets
from farthing.adaptation.network import Network, as_tuple
from farthing.adaptation.tasks import RATES, Adaptation, Items
from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.training import Schedule, fit
from farthing.types import Array, Pipeline

FEATURE_BATCH = 64
SPREAD_ITEMS = 256  # that tell how wide features spread
HEAD_BATCH = 64
JOINT = 0.1  # a new head learns slower while its features move too
PATIENT = 5  # so many times without improvement would be all epochs

Outputs = tuple[torch.Tensor, ...]


class Lesson:
    """A network, the items that it learns, and where it keeps how far it came."""

    def __init__(self, net: Network, source: Pipeline, items: Items, adaptation: Adaptation, checkpoints: Path | None) -> None:
        self.net, self.source, self.items, self.adaptation, self.checkpoints = net, source, items, adaptation, checkpoints
        self.objective = _objective(items, self._are_probabilities())

    def learn(self) -> nn.Module:
        """The module when it has learned as the adaptation says. Raises BuildError where it has no head that could."""
        return {"head": self.head, "unfreeze": self.unfreeze, "lora": self.lora, "full": self.full}[self.adaptation.how]()

    def head(self, folder: str = "head") -> nn.Module:
        """The heads alone, on the backbone's features: nothing else moves, since nothing else is run."""
        if not self.net.heads:
            raise BuildError(
                f"adapt: no linear layer of {type(self.net.module).__name__} gives its answer, so there is no head to learn"
                f" alone (how = {self.adaptation.how}); choose full or lora"
            )
        features_ND = self._features(np.arange(len(self.items)))
        mean_D, spread_D = self._centre(features_ND), features_ND.std(0)
        spread_D = torch.where(spread_D > 1e-6 * spread_D.max(), spread_D, torch.ones(()))
        standard_ND = (features_ND - mean_D) / spread_D
        heads = nn.ModuleList(_rescaled(self._linear(path), mean_D, spread_D) for path in self.net.heads)

        def loss(learning: nn.Module, items: Array) -> torch.Tensor:
            rows = standard_ND[torch.from_numpy(items)]
            return self.objective(tuple(head(rows) for head in heads), items)

        rate = self.adaptation.rate if self.adaptation.how == "head" else RATES["head"]
        schedule = self._schedule(self.adaptation.head_epochs, rate, HEAD_BATCH)
        fit(heads, loss, np.ones(len(self.items), int), schedule=schedule, checkpoints=self._place(folder))
        for path, head in zip(self.net.heads, heads, strict=True):
            back = _rescaled(head, -mean_D / spread_D, 1 / spread_D)
            self._linear(path).load_state_dict(back.state_dict())
        return self.net.module

    def unfreeze(self) -> nn.Module:
        self.head("frozen")
        return self._moved(self._discriminative())

    def full(self) -> nn.Module:
        if self.net.fresh:
            return self._moved({name: 1.0 for name, _ in self.net.module.named_parameters()} | self._head_factors())
        self._fit_whole(self.net.module.requires_grad_(True))
        return self.net.module

    def lora(self) -> nn.Module:
        adaptation, example = self.adaptation, self._arguments(np.arange(min(4, len(self.items))))
        updates = LowRankUpdates(self.net.module, self.net.heads, adaptation.rank, adaptation.alpha)
        factors = {name: 1.0 for name in updates.names} | self._head_factors()
        self._moved(factors)
        return updates.merged(example)

    # ------------------------------------------------------------ which weights move, and at which rate

    def _discriminative(self) -> dict[str, float]:
        """lowest^(depth): from 1 for the last part that was called to `lowest` for the first, equally apart in logarithm."""
        order = self.net.order
        depth = {path: (len(order) - 1 - i) / max(1, len(order) - 1) for i, path in enumerate(order)}
        names = [name for name, _ in self.net.module.named_parameters()]
        return {name: self.adaptation.lowest ** depth.get(name.rpartition(".")[0], 1.0) for name in names}

    def _head_factors(self) -> dict[str, float]:
        """Heads move with the rest; new ones at JOINT times the frozen phase's rate, over the spread of their features."""
        names = [f"{path}.{name}" for path in self.net.heads for name, _ in self._linear(path).named_parameters()]
        if not self.net.fresh:
            return dict.fromkeys(names, 1.0)
        drawn = np.random.default_rng(self.adaptation.seed).permutation(len(self.items))[:SPREAD_ITEMS]
        spread = max(1e-6, float(self._features(np.sort(drawn)).std(0).mean()))
        return dict.fromkeys(names, JOINT * RATES["head"] / spread / self.adaptation.rate)

    def _moved(self, factors: Mapping[str, float]) -> nn.Module:
        offsets = Offsets(self.net.module, factors)
        self._fit_whole(offsets)
        offsets.settle()
        return self.net.module.eval().requires_grad_(False)

    # ------------------------------------------------------------ running it

    def _fit_whole(self, learning: nn.Module) -> None:
        def loss(module: nn.Module, items: Array) -> torch.Tensor:
            answer = module(*self._arguments(items))
            return self.objective(as_tuple(answer, len(self.items.widths)), items)

        adaptation = self.adaptation
        schedule = self._schedule(adaptation.epochs, adaptation.rate, adaptation.batch_size)
        fit(learning, loss, self.items.lengths, schedule=schedule, checkpoints=self._place(adaptation.how))

    def _schedule(self, epochs: int, rate: float, batch_size: int) -> Schedule:
        return Schedule(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=rate,
            seed=self.adaptation.seed,
            patience=max(2, epochs // PATIENT),
        )

    def _place(self, folder: str) -> Path | None:
        return None if self.checkpoints is None else self.checkpoints / folder

    def _arguments(self, items: Array) -> tuple[torch.Tensor, ...]:
        feeds = pipelines.collate(self.source, [self.items.encoded[i] for i in items])
        return torch_form.tensors(feeds, self.source.inputs)

    def _linear(self, path: str) -> nn.Linear:
        head = self.net.module.get_submodule(path)
        assert isinstance(head, nn.Linear), "heads are linear layers"
        return head

    def _features(self, items: Array) -> torch.Tensor:
        """(n, width) what the first head is given for these items, in their order; the module is in eval mode."""
        seen: list[torch.Tensor] = []
        handle = self._linear(self.net.heads[0]).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        by_length = np.argsort(self.items.lengths[items], kind="stable")
        order = items[by_length]
        with torch.no_grad():
            for start in range(0, len(order), FEATURE_BATCH):
                self.net.module(*self._arguments(order[start : start + FEATURE_BATCH]))
        handle.remove()
        return torch.cat(seen)[torch.from_numpy(np.argsort(by_length, kind="stable"))].float()

    def _centre(self, features_ND: torch.Tensor) -> torch.Tensor:
        """(width,) the features' mean; zeros where a head has no bias that could make up for it."""
        biased = all(self._linear(path).bias is not None for path in self.net.heads)
        return features_ND.mean(0) if biased else torch.zeros(features_ND.shape[1])

    def _are_probabilities(self) -> bool:
        """Whether a model without a head of its own answers with scores that sum to one: then their logarithms are fitted."""
        if self.net.heads:
            return False
        with torch.no_grad():
            answer = torch_form.first(self.net.module(*self._arguments(np.arange(min(8, len(self.items))))))
        return bool(answer.ndim == 2 and (answer >= 0).all() and torch.allclose(answer.sum(1), torch.ones(()), atol=1e-4))


def _objective(items: Items, probabilities: bool) -> Callable[[Outputs, Array], torch.Tensor]:
    """Mean over the items of H(y, softmax(answer)) for classes, of (y - answer)^2 / var(y) where the answer is one number."""
    labels, task = torch.from_numpy(items.labels), torch.from_numpy(items.task)
    variance = [float(labels[task == number].var().clamp_min(1e-12)) for number in range(len(items.widths))]

    def objective(outputs: Outputs, chosen: Array) -> torch.Tensor:
        index = torch.from_numpy(np.asarray(chosen))
        total = outputs[0].new_zeros(())
        for number, width in enumerate(items.widths):
            own = task[index] == number
            got, wanted = outputs[number][own], labels[index][own]
            if width == 1:
                total = total + ((got.reshape(-1) - wanted.float()) ** 2).sum() / variance[number]
            else:
                scores = got.clamp_min(1e-9).log() if probabilities else got
                total = total + functional.cross_entropy(scores, wanted.long(), reduction="sum")
        return total / len(index)

    return objective


def _rescaled(head: nn.Linear, mean_D: torch.Tensor, spread_D: torch.Tensor) -> nn.Linear:
    """The head that answers to (x - mean) / spread what `head` answers to x: W' = W spread, b' = b + W mean."""
    other = nn.Linear(head.in_features, head.out_features, bias=head.bias is not None)
    other.weight.data = head.weight.detach() * spread_D
    if head.bias is not None:
        other.bias.data = head.bias.detach() + head.weight.detach() @ mean_D
    return other
