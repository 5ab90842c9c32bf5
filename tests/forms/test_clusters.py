"""k-means on a line: as good as the plain algorithm over all values."""

import numpy as np
import pytest

from farthing.forms.clusters import k_means, spread


def distortion(values: np.ndarray, levels: np.ndarray) -> float:
    return float(((values[:, None] - levels) ** 2).min(1).mean())


def plain(values: np.ndarray, k: int) -> np.ndarray:
    """Lloyd's algorithm from the same start, over the values themselves."""
    levels = np.linspace(values.min(), values.max(), k)
    for _ in range(500):
        codes = np.abs(values[:, None] - levels).argmin(1)
        levels = np.array([values[codes == i].mean() if (codes == i).any() else levels[i] for i in range(k)])
    return levels


@pytest.mark.parametrize("k", [2, 5, 16])
def test_it_finds_what_lloyds_algorithm_finds(k: int) -> None:
    values = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    assert distortion(values, k_means(values, k)) < 1.01 * distortion(values, plain(values, k))


def test_sixteen_levels_of_normal_values_are_the_known_optimum() -> None:
    values = np.random.default_rng(1).standard_normal(300_000).astype(np.float32)
    assert distortion(values, k_means(values, 16)) == pytest.approx(0.009501, rel=0.02)  # Max 1960, table I


@pytest.mark.parametrize("values", [[], [3.0, 3.0], [1.0, 2.0, 2.0, -1.0]])
def test_few_values_are_themselves(values: list[float]) -> None:
    assert np.allclose(k_means(np.array(values, np.float32), 8), np.unique(values))


def test_levels_that_nobody_has_are_dropped() -> None:
    values = np.concatenate([np.linspace(0, 1, 50), np.linspace(100, 101, 50)]).astype(np.float32)
    levels = k_means(values, 8)
    assert 2 <= len(levels) < 8 and distortion(values, levels) < 0.1


def test_a_spread_holds_zero_and_both_sides() -> None:
    levels = spread(np.linspace(-1, 1, 1000), 5)
    assert levels[0] == 0 and np.allclose(np.sort(levels), [-0.99, -0.495, 0, 0.495, 0.99], atol=0.01)
    assert len(np.unique(spread(np.zeros(10), 4))) == 4
