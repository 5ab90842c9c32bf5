"""Spearman's rank correlation between answers and labels."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from farthing.errors import DataError
from farthing.metrics.base import Metric, Ranking
from farthing.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Spearman(Metric):
    """Pearson's correlation of mid-ranks, E uv / sqrt(E uu E vv) with u = F(x) - 1/2 and v = G(y) - 1/2.

    F(x) = P(X < x) + P(X = x) / 2 is the mid-distribution function of the answers, G that of the labels: mean 1/2, ties or not.
    """

    kind: ClassVar[Literal["mean", "statistic"]] = "statistic"
    needs_labels: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def value(self, predictions: Array, target: Array) -> float:
        return float(self.weighted(predictions, target, np.ones((1, len(target))))[0])

    def weighted(self, predictions: Array, target: Array, weights: Array) -> Array:
        shares = weights / weights.sum(axis=1, keepdims=True)
        u = _mid_distribution(_ranking(predictions, "answers"), shares)
        v = _mid_distribution(_ranking(target, "labels"), shares)
        spread = np.einsum("bn,bn,bn->b", shares, u, u) * np.einsum("bn,bn,bn->b", shares, v, v)
        covariance = np.einsum("bn,bn,bn->b", shares, u, v)
        return np.asarray(covariance / np.sqrt(np.where(spread > 0, spread, np.nan)))

    def influence(self, predictions: Array, target: Array) -> Array:
        """From that of each second moment: E ab has a_i b_i + E[1(x_i<x) b] + E[a 1(y_i<y)] - 3 E ab, ties counting half."""
        x, y = _ranking(predictions, "answers"), _ranking(target, "labels")
        shares = np.full((1, len(target)), 1 / len(target))
        u, v = _mid_distribution(x, shares)[0], _mid_distribution(y, shares)[0]
        uv, uu, vv = np.mean(u * v), np.mean(u * u), np.mean(v * v)
        of_uv = u * v + _mass_above(x, v) + _mass_above(y, u) - 3 * uv
        of_uu = u * u + 2 * _mass_above(x, u) - 3 * uu
        of_vv = v * v + 2 * _mass_above(y, v) - 3 * vv
        return np.asarray((of_uv - uv * (of_uu / uu + of_vv / vv) / 2) / np.sqrt(uu * vv))


def _ranking(column: Array, what: str) -> Ranking:
    if column.dtype.kind not in "fiub" or column.size != len(column):
        raise DataError(f"spearman needs one number per item, but the {what} have shape {column.shape} and type {column.dtype}")
    flat = column.reshape(len(column))
    ranking = Ranking.of(flat)
    if ranking.num_values < 2:
        raise DataError(f"spearman is undefined: all {len(flat)} {what} are {flat[0]}")
    return ranking


def _mid_distribution(ranking: Ranking, shares: Array) -> Array:
    """(b, n) F of each item, centred, under the shares (b, n), which sum to 1 over n."""
    mass = ranking.mass(shares)
    below = np.cumsum(mass, axis=1)
    below -= mass / 2 + 0.5
    return ranking.spread(below)


def _mass_above(ranking: Ranking, values: Array) -> Array:
    """(n,) mean over items j of values_j * (1 if j ranks above i, 1/2 if they tie)."""
    mass = ranking.mass(values[None] / len(values))
    return np.asarray(ranking.spread(mass.sum() - np.cumsum(mass, axis=1) + mass / 2)[0])
