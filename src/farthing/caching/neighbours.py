"""The nearest of many embeddings: exact in NumPy, or usearch's graph where there are very many."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from farthing.errors import MissingExtra
from farthing.types import Array

EXACT_UP_TO = 50_000  # entries; benchmarks/caches.py measures where the graph overtakes
GRAPH_BREADTH = 128  # candidates that the graph keeps while it searches (HNSW's ef, Malkov & Yashunin 2018)


class Neighbours(ABC):
    """Embeddings of length 1, in numbered slots.

    Laws: `nearest` gives the nearest slot that is filled, and its cosine (a graph may miss it for a slot less near); a slot
    filled anew or emptied is never found by what it held before.
    """

    @abstractmethod
    def fill(self, slot: int, vector_D: Array) -> None: ...

    @abstractmethod
    def empty(self, slot: int) -> None: ...

    @abstractmethod
    def nearest(self, vector_D: Array) -> tuple[int, float]:
        """(slot, cosine); (-1, -1.0) where none is filled."""


def neighbours(capacity: int, width: int) -> Neighbours:
    """Exact up to EXACT_UP_TO entries. Beyond, raises MissingExtra where usearch is not installed."""
    return Exact(capacity, width) if capacity <= EXACT_UP_TO else Graph(capacity, width)


class Exact(Neighbours):
    def __init__(self, capacity: int, width: int) -> None:
        self._matrix_ND = np.zeros((min(capacity, 256), width), np.float32)
        self._capacity, self._end = capacity, 0

    def fill(self, slot: int, vector_D: Array) -> None:
        if slot >= len(self._matrix_ND):
            grown = np.zeros((min(self._capacity, 2 * slot), self._matrix_ND.shape[1]), np.float32)
            grown[: len(self._matrix_ND)] = self._matrix_ND
            self._matrix_ND = grown
        self._matrix_ND[slot] = vector_D
        self._end = max(self._end, slot + 1)

    def empty(self, slot: int) -> None:
        self._matrix_ND[slot] = np.nan if slot < self._end else 0.0

    def nearest(self, vector_D: Array) -> tuple[int, float]:
        cosines_N = self._matrix_ND[: self._end] @ vector_D
        if not len(cosines_N):
            return -1, -1.0
        slot = int(cosines_N.argmax())
        if np.isnan(cosines_N[slot]):  # argmax stops at the first NaN: an emptied slot
            cosines_N = np.nan_to_num(cosines_N, nan=-2.0)
            slot = int(cosines_N.argmax())
        return (slot, float(cosines_N[slot])) if cosines_N[slot] >= -1.5 else (-1, -1.0)


class Graph(Neighbours):
    def __init__(self, capacity: int, width: int) -> None:
        try:
            from usearch.index import Index
        except ImportError as error:
            raise MissingExtra("usearch", "semantic") from error
        self._index: Any = Index(ndim=width, metric="ip", dtype="f32", expansion_search=GRAPH_BREADTH)
        self._filled: set[int] = set()

    def fill(self, slot: int, vector_D: Array) -> None:
        self.empty(slot)
        self._index.add(slot, vector_D)
        self._filled.add(slot)

    def empty(self, slot: int) -> None:
        if slot in self._filled:
            self._index.remove(slot)
            self._filled.discard(slot)

    def nearest(self, vector_D: Array) -> tuple[int, float]:
        if not self._filled:
            return -1, -1.0
        found = self._index.search(vector_D, 1)
        return (int(found.keys[0]), 1.0 - float(found.distances[0])) if len(found.keys) else (-1, -1.0)
