"""How far a student's answers are from the original's and from the labels: what a repair minimizes.

Shape suffixes: B items, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from farthing.errors import BuildError
from farthing.types import Array

FEWEST_COSINE = 8  # values of a vector: with fewer, a direction says too little
DIVERGENCES = ("soft", "forward", "reverse")
Distance = Callable[[torch.Tensor, Array], torch.Tensor]  # (what the student answers to these items, the items) -> mean loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """With z_s what the student answers, z_t what the original does, s the softmax, y the label, T the temperature:

    soft     (1 - a) H(y, s(z_s)) + a T^2 H(s(z_t / T), s(z_s / T))     (Hinton et al., arXiv 1503.02531)
    forward  -log s(z_s)_y + b T^2 KL(s(z_t / T) || s(z_s / T))         covers all that the original holds possible
    reverse  -log s(z_s)_y + b T^2 KL(s(z_s / T) || s(z_t / T))         avoids what the original holds impossible

    `weight` is a (0 to 1), or b (0 or more). These are for labels that are indices of the answer's last axis; forward and
    reverse, without labels, leave out the term of y. Other answers: 1 - cos(z_s, z_t) for vectors of FEWEST_COSINE and more
    values, else (z_s - z_t)^2 over the variance of z_t.
    """

    divergence: str = "soft"
    temperature: float = 2.0
    weight: float = 0.9

    def check(self) -> None:
        """Raises BuildError for a setting that is none."""
        if self.divergence not in DIVERGENCES:
            raise BuildError(f"divergence is one of {', '.join(DIVERGENCES)}, not {self.divergence!r}")
        if not 0.0 < self.temperature < float("inf"):
            raise BuildError(f"the temperature is a number above 0, not {self.temperature:g}")
        most = 1.0 if self.divergence == "soft" else 1e6
        if not 0.0 <= self.weight <= most:
            raise BuildError(f"soft, the weight of the original's answers, lies between 0 and {most:g}, not {self.weight:g}")

    def to(self, answers: torch.Tensor, labels: Array | None) -> Distance:
        """The distance to these answers. Raises BuildError for labels of other classes than those that are answered."""
        self.check()
        truth = class_labels(labels, answers)
        if truth is None and (self.divergence == "soft" or answers.ndim != 2 or answers.shape[1] < 2):
            if self.divergence != "soft":
                raise BuildError(
                    f"divergence = {self.divergence} compares distributions over classes; the original answers values of shape "
                    f"{tuple(answers.shape[1:])}. Use divergence = soft, which then compares the answers themselves."
                )
            return _vectors(answers)
        return self._classes(answers, truth)

    def _classes(self, answers_BC: torch.Tensor, truth: torch.Tensor | None) -> Distance:
        T = self.temperature
        known_BC = (answers_BC / T).log_softmax(-1)
        hard_weight = 1.0 - self.weight if self.divergence == "soft" else 1.0

        def distance(got_BC: torch.Tensor, items: Array) -> torch.Tensor:
            ours_BC, theirs_BC = (got_BC / T).log_softmax(-1), known_BC[items]
            if self.divergence == "soft":
                apart = -(theirs_BC.exp() * ours_BC).sum(-1).mean()
            else:
                p_BC, q_BC = (theirs_BC, ours_BC) if self.divergence == "forward" else (ours_BC, theirs_BC)
                apart = (p_BC.exp() * (p_BC - q_BC)).sum(-1).mean()
            hard = 0.0 if truth is None else hard_weight * functional.cross_entropy(got_BC, truth[items])
            return hard + self.weight * T**2 * apart

        return distance


def class_labels(labels: Array | None, answers: torch.Tensor) -> torch.Tensor | None:
    """(n,) the labels as indices of the answers' columns; None where they are no classes.

    Raises BuildError where they are whole numbers, but not of the classes that are answered.
    """
    if labels is None or labels.dtype.kind not in "biu" or labels.ndim != 1 or answers.ndim != 2 or answers.shape[1] < 2:
        return None
    least, most, width = int(labels.min()), int(labels.max()), answers.shape[1]
    if not 0 <= least <= most < width:
        raise BuildError(
            f"the train split has labels from {least} to {most}, and the original answers scores of {width} classes "
            f"(0 to {width - 1}). Leave out items of other classes, or give a model that knows them."
        )
    return torch.from_numpy(labels.astype(np.int64))


def check_alike(got: torch.Tensor, answers: torch.Tensor) -> None:
    """Raises BuildError where the student and the original do not answer in the same shape."""
    if got.shape[1:] == answers.shape[1:]:
        return
    if got.ndim == answers.ndim == 2:
        raise BuildError(
            f"the student answers {got.shape[1]} classes or values, the original {answers.shape[1]}. "
            "A student learns only from an original with the same ones."
        )
    raise BuildError(f"the student answers shape {tuple(got.shape[1:])}, the original {tuple(answers.shape[1:])}")


def _vectors(answers: torch.Tensor) -> Distance:
    if answers.ndim == 2 and answers.shape[1] >= FEWEST_COSINE:
        return lambda got, items: (1 - functional.cosine_similarity(got, answers[items], dim=-1)).mean()
    variance = answers.var().clamp_min(1e-12)
    return lambda got, items: ((got - answers[items]) ** 2).mean() / variance
