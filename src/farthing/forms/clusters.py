"""k-means on a line, for millions of weights: Lloyd's steps over a histogram, and levels to begin from."""

import numpy as np

from farthing.types import Array

NUM_BINS = 1 << 15  # the width of one is a 2,000th of a cluster of 16: far below what rounding to it costs
MOST_STEPS = 300
BLOCK = 1 << 18
PEAK = 0.99  # share of the sizes below the outermost level that learning begins from


def k_means(values: Array, num_clusters: int) -> Array:
    """(k,) float64 ascending, k <= num_clusters: levels of least squared distance to their members, found from an even spread.

    Lloyd's iteration: level_k <- mean of the values nearest to it, until none moves (Han et al., Deep Compression, arXiv
    1510.00149, section 3, with its linear initialization, which leaves levels for large, rare weights). Its steps run over
    counts and sums of NUM_BINS bins, so that the values are read once; a level that has no member is dropped in the end.
    """
    flat = np.ravel(values)
    if not flat.size:
        return np.empty(0)
    low, high = float(flat.min()), float(flat.max())
    if low == high:
        return np.array([low])
    counts, sums = _histogram(flat, low, high)
    filled = np.flatnonzero(counts)
    counts, sums = counts[filled], sums[filled]
    means = sums / counts
    if len(means) <= num_clusters:
        return np.asarray(means)
    levels = np.linspace(low, high, num_clusters)
    total_counts, total_sums = (np.concatenate([[0.0], np.cumsum(x)]) for x in (counts, sums))
    for _ in range(MOST_STEPS):
        edges = np.searchsorted(means, (levels[1:] + levels[:-1]) / 2)
        edges = np.concatenate([[0], edges, [len(means)]])
        members = np.diff(total_counts[edges])
        moved = np.where(members > 0, np.diff(total_sums[edges]) / np.maximum(members, 1.0), levels)
        if np.array_equal(moved, levels):
            break
        levels = moved
    return np.asarray(levels[members > 0])


def spread(values: Array, num_levels: int) -> Array:
    """(k,) zero first, then even steps to both sides up to the PEAK quantile of the sizes: what learning under a price begins
    from.
    """
    peak = float(np.quantile(np.abs(values), PEAK)) or float(np.abs(values).max()) or 1.0
    num_up = num_levels // 2
    num_down = num_levels - 1 - num_up
    return np.concatenate([[0.0], peak * np.arange(1, num_up + 1) / num_up, -peak * np.arange(1, num_down + 1) / num_up])


def _histogram(flat: Array, low: float, high: float) -> tuple[Array, Array]:
    """(counts, sums of the values), each (NUM_BINS,), a block at a time: what fits a cache is counted four times as fast."""
    scale = np.float32((NUM_BINS - 1) / (high - low))
    counts, sums = np.zeros(NUM_BINS), np.zeros(NUM_BINS)
    for start in range(0, len(flat), BLOCK):
        block = flat[start : start + BLOCK]
        places = np.clip((block - np.float32(low)) * scale, 0, NUM_BINS - 1).astype(np.intp)
        counts += np.bincount(places, minlength=NUM_BINS)
        sums += np.bincount(places, weights=block, minlength=NUM_BINS)
    return counts, sums
