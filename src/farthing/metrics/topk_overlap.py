"""Retrieval overlap: how many of each item's k nearest others stay its nearest."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from farthing.errors import DataError, JobError
from farthing.metrics.base import Metric, rows
from farthing.types import Array

CHUNK = 1024  # rows of the similarity matrix that are in memory at once


@dataclass(frozen=True, slots=True, kw_only=True)
class TopkOverlap(Metric):
    """Mean over items of |A_i and B_i| / k: the k others nearest by cosine, within these items, for original and candidate.

    An item is a query and a document at once, so the overlaps are not independent: this is a statistic, not a mean. A copy
    of an item would be its own nearest neighbour, so it is not bootstrapped; `influence` deletes one item in both roles.
    """

    kind: ClassVar[Literal["mean", "statistic"]] = "statistic"
    needs_labels: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    resamples: ClassVar[bool] = False

    k: int = 10

    def __post_init__(self) -> None:
        if self.k < 1:
            raise JobError(f"topk_overlap@{self.k}: k counts neighbours; it must be at least 1")

    def value(self, predictions: Array, target: Array) -> float:
        theirs, ours = self._neighbours(predictions), self._neighbours(target)
        return float(np.sum(_same(theirs[:, : self.k], ours[:, : self.k])) / (len(ours) * self.k))

    def influence(self, predictions: Array, target: Array) -> Array:
        """Jackknife: (n - 1) (value - value without item i), centred (Efron 1992).

        Without item j, each list that held it takes up its (k+1)-th neighbour; nothing else changes.
        """
        k = self.k
        theirs, ours = self._neighbours(predictions), self._neighbours(target)
        same = np.asarray(_same(theirs, ours))  # (n, k+1, k+1)
        shared_theirs, shared_ours = same[:, :k, :k].any(axis=2), same[:, :k, :k].any(axis=1)  # (n, k)
        next_theirs = same[:, k, :k].any(axis=1, keepdims=True).astype(int)  # (n, 1): the (k+1)-th is in the other list
        next_ours = same[:, :k, k].any(axis=1, keepdims=True).astype(int)
        gain_theirs = np.where(shared_theirs, next_theirs + next_ours + same[:, k, k:] - 1, next_theirs)
        gain_ours = np.where(shared_ours, 0, next_ours)  # a shared neighbour was counted once, above
        lists, gains = np.concatenate([theirs[:, :k], ours[:, :k]]), np.concatenate([gain_theirs, gain_ours])
        change = np.bincount(lists.ravel(), gains.ravel(), len(ours))
        without = same[:, :k, :k].sum(axis=(1, 2)) - change
        return np.asarray((without - without.mean()) / k)

    def _neighbours(self, vectors: Array) -> Array:
        """(n, k+1) the nearest others by cosine, nearest first; equally near ones by their position."""
        x = rows(vectors, "topk_overlap").astype(np.float32)
        if len(x) < self.k + 2:
            raise DataError(f"topk_overlap@{self.k} needs at least {self.k + 2} items, not {len(x)}")
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return np.concatenate([self._nearest(x, start) for start in range(0, len(x), CHUNK)])

    def _nearest(self, x: Array, start: int) -> Array:
        near = x[start : start + CHUNK] @ x.T
        near[np.arange(len(near)), np.arange(start, start + len(near))] = -np.inf  # not itself
        found = np.sort(np.argpartition(-near, self.k, axis=1)[:, : self.k + 1], axis=1)
        order = np.argsort(-np.take_along_axis(near, found, axis=1), axis=1, kind="stable")
        return np.take_along_axis(found, order, axis=1)


def _same(a: Array, b: Array) -> Array:
    return np.asarray(a[:, :, None] == b[:, None, :])
