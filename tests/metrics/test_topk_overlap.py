"""Retrieval overlap: its jackknife against leaving items out one by one."""

import numpy as np
import pytest

from farthing.errors import DataError
from farthing.metrics.topk_overlap import TopkOverlap

DRAW = np.random.default_rng(3)
ORIGINAL = DRAW.standard_normal((60, 5))
CANDIDATE = ORIGINAL + 0.4 * DRAW.standard_normal((60, 5))


@pytest.mark.parametrize("k", [1, 4, 10])
def test_influence_is_the_jackknife(k: int) -> None:
    metric, n = TopkOverlap(k=k), len(ORIGINAL)
    without = np.array([metric.value(np.delete(CANDIDATE, i, 0), np.delete(ORIGINAL, i, 0)) for i in range(n)])
    expected = (n - 1) * (without.mean() - without)
    np.testing.assert_allclose(metric.influence(CANDIDATE, ORIGINAL), expected, atol=1e-9)


def test_value_by_hand() -> None:
    angles = np.deg2rad([0.0, 10.0, 25.0, 90.0])
    original = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    candidate = original[[0, 1, 3, 2]]  # items 2 and 3 answer for each other: 0 and 1 keep their nearest, 2 and 3 do not
    assert TopkOverlap(k=1).value(candidate, original) == pytest.approx(0.5)


def test_scale_does_not_matter_and_zero_vectors_are_allowed() -> None:
    stretched = ORIGINAL * DRAW.uniform(0.5, 2, (60, 1))
    assert TopkOverlap().value(stretched, ORIGINAL) == 1.0
    assert 0 <= TopkOverlap().value(np.zeros_like(ORIGINAL), ORIGINAL) <= 1


def test_too_few_items_are_refused() -> None:
    with pytest.raises(DataError, match="at least 12 items, not 11"):
        TopkOverlap(k=10).value(CANDIDATE[:11], ORIGINAL[:11])


def test_one_number_per_item_is_refused() -> None:
    with pytest.raises(DataError, match="compares vectors"):
        TopkOverlap().value(CANDIDATE[:, 0], ORIGINAL[:, 0])
