"""fit(): train a module; checkpointed, resumed, stopped early. It ends with the weights that were best on held-out items."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from farthing.errors import BuildError
from farthing.types import Array, Learning, Tell

if TYPE_CHECKING:
    import torch

FILE = "fit.pt"
CHECKPOINT_S = 20.0  # between two checkpoints inside an epoch
MEGABATCH = 32  # batches whose items are sorted by length together: little padding, and still a random order
FEWEST_ITEMS = 20
TOLD_S = 1.0  # between two notices inside an epoch

Loss = Callable[["torch.nn.Module", Array], "torch.Tensor"]  # mean loss of the items with these indices


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """AdamW (arXiv 1711.05101); the rate rises over the first `warmup` of all steps and falls to zero with half a cosine."""

    epochs: int = 3
    batch_size: int = 32
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup: float = 0.1  # share of all steps
    validation: float = 0.1  # share of the items, held out to choose the best epoch
    patience: int = 2  # epochs without improvement before it stops
    max_norm: float = 1.0  # gradients are scaled down to this L2 norm
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    losses: tuple[float, ...]  # on the held-out items, after each epoch; NaN after one that diverged
    best_epoch: int


def fit(
    module: "torch.nn.Module",
    loss: Loss,
    lengths: Array,
    *,
    schedule: Schedule,
    checkpoints: Path | None = None,
    tell: Tell = print,
) -> Fitted:
    """Train `module` in place; it is left in eval mode with the weights of the best epoch.

    `lengths` (n,): the length of each item (ones where lengths do not vary); items of like length share a batch. With
    `checkpoints`, a folder of this training alone, a call that was killed goes on where it was: the same seed gives the same
    weights, resumed or not. Stops early after `patience` epochs without improvement, and when the loss is no longer finite:
    the last good weights are kept. Raises BuildError for too few items, and if no epoch ended with a finite loss.
    """
    import torch

    if len(lengths) < FEWEST_ITEMS:
        raise BuildError(f"training takes at least {FEWEST_ITEMS} items; there are {len(lengths)}. Give a larger train split.")
    with torch.random.fork_rng(devices=[]):
        training = _Training(module, loss, lengths, schedule, checkpoints, tell)
        while not training.ended:
            training.epoch()
            tell(training.told(training.losses[-1]))
    return training.finish()


class _Training:
    def __init__(
        self, module: "torch.nn.Module", loss: Loss, lengths: Array, schedule: Schedule, checkpoints: Path | None, tell: Tell
    ) -> None:
        import torch

        self.module, self.loss, self.lengths, self.schedule = module, loss, np.asarray(lengths), schedule
        self.tell = tell
        self.file = None if checkpoints is None else checkpoints / FILE
        order = np.random.default_rng(schedule.seed).permutation(len(lengths))
        num_held_out = max(1, round(schedule.validation * len(lengths)))
        self.held_out, self.items = np.sort(order[:num_held_out]), np.sort(order[num_held_out:])
        self.steps = math.ceil(len(self.items) / schedule.batch_size)  # of an epoch
        learning = [p.requires_grad_() for p in module.parameters() if p.is_floating_point()]
        self.optimizer = torch.optim.AdamW(learning, lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
        self.done, self.step, self.losses, self.best = 0, 0, list[float](), dict[str, Any]()
        self.began = self.saved = self.said = time.monotonic()
        torch.manual_seed(schedule.seed)
        self._resume()
        self.resumed_at = self.done + self.step / self.steps

    @property
    def ended(self) -> bool:
        since_best = len(self.losses) - 1 - int(np.nanargmin(self.losses)) if self.best else 0
        diverged = bool(self.losses) and math.isnan(self.losses[-1])
        return self.done >= self.schedule.epochs or since_best >= self.schedule.patience or diverged

    def epoch(self) -> None:
        self.module.train()
        finite = all(self._take(batch) for batch in self._batches()[self.step :])
        value = self._held_out_loss() if finite else math.nan
        if math.isnan(value) and not self.best:
            raise BuildError(
                f"training diverged: the loss was not finite before epoch {self.done + 1} had ended. "
                f"Lower learning_rate ({self.schedule.learning_rate:g})."
            )
        if not math.isnan(value) and value <= min(self.losses, default=math.inf):
            self.best = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        self.losses.append(value)
        self.done, self.step = self.done + 1, 0
        self._save()

    def told(self, loss: float | None = None) -> Learning:
        done, epochs = self.done + self.step / self.steps, self.schedule.epochs
        left_s = (time.monotonic() - self.began) / max(done - self.resumed_at, 1e-9) * (epochs - done)
        return Learning(share=done / epochs, epoch=self.done, num_epochs=epochs, left_s=left_s, loss=loss)

    def finish(self) -> Fitted:
        self.module.load_state_dict(self.best)
        self.module.eval().requires_grad_(False)
        return Fitted(losses=tuple(self.losses), best_epoch=int(np.nanargmin(self.losses)))

    def _batches(self) -> list[Array]:
        """The items in a new order each epoch; neighbours in length share a batch, batches come in random order."""
        draw = np.random.default_rng((self.schedule.seed, self.done))
        order, size = draw.permutation(self.items), self.schedule.batch_size
        mega = [order[i : i + size * MEGABATCH] for i in range(0, len(order), size * MEGABATCH)]
        ordered = [part[np.argsort(self.lengths[part], kind="stable")] for part in mega]
        batches = [part[i : i + size] for part in ordered for i in range(0, len(part), size)]
        return [batches[i] for i in draw.permutation(len(batches))]

    def _take(self, batch: Array) -> bool:
        """One step; False where the loss or the gradient is not finite: then nothing was changed."""
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate * self._rate(self.done + self.step / self.steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=_has_bf16()):
            value = self.loss(self.module, batch)
        self.optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.schedule.max_norm)
        if not (torch.isfinite(value) and torch.isfinite(norm)):
            return False
        self.optimizer.step()
        self.step += 1
        now = time.monotonic()
        if now - self.saved > CHECKPOINT_S:
            self._save()
        if now - self.said > TOLD_S:
            self.said = now
            self.tell(self.told())
        return True

    def _rate(self, epochs: float) -> float:
        """Share of the learning rate after so many epochs."""
        done = epochs / self.schedule.epochs
        if done < self.schedule.warmup:
            return (done + 1 / (self.steps * self.schedule.epochs)) / self.schedule.warmup
        return 0.5 * (1 + math.cos(math.pi * (done - self.schedule.warmup) / (1 - self.schedule.warmup)))

    def _held_out_loss(self) -> float:
        import torch

        self.module.eval()
        order, size = self.held_out[np.argsort(self.lengths[self.held_out], kind="stable")], self.schedule.batch_size
        with torch.no_grad():
            parts = [order[i : i + size] for i in range(0, len(order), size)]
            total = sum(float(self.loss(self.module, part)) * len(part) for part in parts)
        value = total / len(order)
        return value if math.isfinite(value) else math.nan

    def _save(self) -> None:
        if self.file is None:
            return
        import torch

        self.file.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "module": self.module.state_dict(), "optimizer": self.optimizer.state_dict(), "random": torch.get_rng_state(),
            "done": self.done, "step": self.step, "losses": self.losses, "best": self.best,
        }  # fmt: skip
        scratch = self.file.with_suffix(".part")
        torch.save(state, scratch)
        scratch.replace(self.file)  # there is always a whole one
        self.saved = time.monotonic()

    def _resume(self) -> None:
        if self.file is None or not self.file.exists():
            return
        import torch

        state = torch.load(self.file, weights_only=True)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.done, self.step, self.losses, self.best = state["done"], state["step"], state["losses"], state["best"]


def _has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 itself: emulated, it is slower than float32."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
