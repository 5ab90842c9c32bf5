"""Texts replayed through a semantic cache of a given size: which requests hit, and which of the hits are wrong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from farthing.types import Array

CHUNK = 256  # requests whose cosines are taken in one product
Guard = Callable[[str, str], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Distinct texts in the order in which they came, and the model's own answers to them."""

    texts: Sequence[str]
    vectors: Array  # (n, d) embeddings of length 1
    answers: Sequence[Any]

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, begin: int, end: int) -> "Stream":
        return Stream(texts=self.texts[begin:end], vectors=self.vectors[begin:end], answers=self.answers[begin:end])


def stream(texts: Sequence[str], vectors: Array, answers: Sequence[Any]) -> Stream:
    """Each text once, where it first came: its repeats are answered by the model and then by the exact cache, never wrongly, so
    that the rate of wrong hits among distinct texts bounds the rate among requests."""
    first = list({text: i for i, text in reversed(list(enumerate(texts)))}.values())
    first.sort()
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    return Stream(texts=[texts[i] for i in first], vectors=unit[first], answers=[answers[i] for i in first])


def filled(arrivals: Stream, cosine: float, max_entries: int, guard: Guard) -> Array:
    """Positions of the texts that a cache, empty at first, holds after these requests: those that did not hit, till it is full.

    The live cache goes on to replace entries when it is full; of what it holds then, this is a sample of the same size.
    """
    kept: list[int] = []
    for begin in range(0, len(arrivals), CHUNK):
        chunk = arrivals.vectors[begin : begin + CHUNK]
        nearest, cosines = _nearest(chunk, arrivals.vectors[kept])
        among = chunk @ chunk.T
        fresh: list[int] = []
        for row in range(len(chunk)):
            best, near = (float(cosines[row]), kept[nearest[row]]) if cosines[row] > -2.0 else (-2.0, -1)
            latest = fresh[int(among[row, fresh].argmax())] if fresh else row
            if fresh and among[row, latest] > best:
                best, near = float(among[row, latest]), begin + latest
            if best >= cosine and guard(arrivals.texts[begin + row], arrivals.texts[near]) is None:
                continue
            if len(kept) + len(fresh) == max_entries:
                return np.array([*kept, *(begin + r for r in fresh)], dtype=np.intp)
            fresh.append(row)
        kept += [begin + r for r in fresh]
    return np.array(kept, dtype=np.intp)


def hits(requests: Stream, held: Stream, cosine: float, guard: Guard) -> Array:
    """(n,) the entry that answers each request, -1 for none. The cache stays as it is: requests do not depend on each other."""
    found = np.full(len(requests), -1, dtype=np.intp)
    for begin in range(0, len(requests), CHUNK):
        nearest, cosines = _nearest(requests.vectors[begin : begin + CHUNK], held.vectors)
        for row in np.flatnonzero(cosines >= cosine):
            if guard(requests.texts[begin + int(row)], held.texts[int(nearest[row])]) is None:
                found[begin + row] = nearest[row]
    return found


def take(arrivals: Stream, positions: Array) -> Stream:
    chosen: list[int] = positions.tolist()
    return Stream(
        texts=[arrivals.texts[i] for i in chosen],
        vectors=arrivals.vectors[positions],
        answers=[arrivals.answers[i] for i in chosen],
    )


def wrong(requests: Stream, held: Stream, found: Array, differs: Callable[[Any, Any], bool]) -> Array:
    """(n,) whether the request was given an answer that differs from the model's own."""
    return np.array([j >= 0 and differs(held.answers[j], requests.answers[i]) for i, j in enumerate(found)], dtype=bool)


def _nearest(vectors_BD: Array, held_ND: Array) -> tuple[Array, Array]:
    if not len(held_ND):
        return np.full(len(vectors_BD), -1), np.full(len(vectors_BD), -3.0)
    cosines = vectors_BD @ held_ND.T
    nearest = cosines.argmax(axis=1)
    return nearest, cosines[np.arange(len(nearest)), nearest]
