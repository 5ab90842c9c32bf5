"""Nearest neighbours: the exact ones, a graph that nearly always agrees, and slots that are used again."""

import numpy as np
import pytest

from farthing.caching import neighbours as module
from farthing.caching.neighbours import Exact, Graph, neighbours


def vectors(n: int, width: int = 16, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def kinds() -> list[type]:
    return [Exact, Graph]


@pytest.mark.parametrize("kind", kinds())
def test_the_nearest_is_found_and_what_left_is_not(kind):
    if kind is Graph:
        pytest.importorskip("usearch", reason="usearch is not installed: pip install 'farthing[semantic]'")
    held, asked = vectors(600), vectors(100, seed=1)
    found = kind(600, 16)
    assert found.nearest(asked[0]) == (-1, -1.0)
    for slot, vector in enumerate(held):
        found.fill(slot, vector)
    right = 0
    for vector in asked:
        slot, cosine = found.nearest(vector)
        assert cosine == pytest.approx(float(held[slot] @ vector), abs=1e-5)
        right += slot == int((held @ vector).argmax())
    assert right >= 97
    for slot in range(0, 600, 2):
        found.empty(slot)
    assert all(found.nearest(vector)[0] % 2 == 1 for vector in asked)
    found.fill(0, asked[0])
    assert found.nearest(asked[0])[0] == 0
    found.fill(1, -held[1])
    assert found.nearest(held[1])[0] != 1


def test_the_size_decides(monkeypatch):
    pytest.importorskip("usearch")
    monkeypatch.setattr(module, "EXACT_UP_TO", 10)
    assert isinstance(neighbours(10, 4), Exact) and isinstance(neighbours(11, 4), Graph)
