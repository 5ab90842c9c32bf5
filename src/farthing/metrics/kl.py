"""Negative mean Kullback-Leibler divergence of the candidate's class distribution from the original's, in nats."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from farthing.errors import DataError, JobError
from farthing.metrics.base import Metric, rows
from farthing.types import Array

SMALLEST_PROBABILITY = 1e-12  # a candidate that gives zero to what the original allows would be infinitely far away


@dataclass(frozen=True, slots=True, kw_only=True)
class Kl(Metric):
    """-sum_c p_c (log p_c - log q_c), p the original's and q the candidate's distribution over classes."""

    kind: ClassVar[Literal["mean", "statistic"]] = "mean"
    needs_labels: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (-np.inf, 0.0)

    outputs: Literal["logits", "probabilities"] = "logits"

    def __post_init__(self) -> None:
        if self.outputs not in ("logits", "probabilities"):
            raise JobError(f"kl@{self.outputs}: the model's outputs are 'logits' or 'probabilities'")

    def scores(self, predictions: Array, target: Array) -> Array:
        log_q, log_p = self._log_probabilities(predictions), self._log_probabilities(target)
        divergence = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
        return np.asarray(-np.maximum(divergence, 0.0))

    def _log_probabilities(self, outputs: Array) -> Array:
        values = rows(outputs, "kl")
        if self.outputs == "logits":
            shifted = values - values.max(axis=1, keepdims=True)
            return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
        if values.min() < 0 or np.abs(values.sum(axis=1) - 1).max() > 1e-3:
            raise DataError("kl@probabilities: some answers are no distribution over classes; use kl, which takes logits")
        return np.asarray(np.log(np.maximum(values, SMALLEST_PROBABILITY)))
