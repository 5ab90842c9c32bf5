"""What is remembered of old data: a uniform sample of everything seen so far, in bounded memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from farthing.errors import DataError
from farthing.types import Array, Column, Dataset

EMPTY = Dataset(columns=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservoir:
    """Algorithm R (Vitter 1985, doi 10.1145/3147.3165): item t takes a random one of `size` places with probability size / t.

    Law: of t items seen, in however many pieces and in whichever order, each is kept with probability min(1, size / t).
    """

    size: int
    seed: int = 0
    num_seen: int = 0
    kept: Dataset = field(default=EMPTY)

    def after(self, items: Dataset) -> "Reservoir":
        """The reservoir when `items` have come by as well. Raises DataError where they are not like those that are kept."""
        if self.size < 1:
            raise DataError(f"a replay buffer of {self.size} items remembers nothing; give it room for 1 at least")
        places = list(range(len(self.kept)))
        counts = np.arange(self.num_seen + 1, self.num_seen + len(items) + 1)
        drawn = np.random.default_rng((self.seed, self.num_seen)).integers(0, counts)
        for position, place in enumerate(drawn, start=len(self.kept)):
            if len(places) < self.size:
                places.append(position)
            elif place < self.size:
                places[place] = position
        kept = joined(self.kept, items).take(np.array(places, dtype=np.int64)) if len(items) else self.kept
        return replace(self, num_seen=self.num_seen + len(items), kept=kept)

    def facts(self) -> dict[str, Any]:
        """`Reservoir(**facts)` gives it back: what is recorded."""
        return {"size": self.size, "seed": self.seed, "num_seen": self.num_seen, "kept": self.kept}


def joined(first: Dataset, second: Dataset) -> Dataset:
    """The items of both, the first's before the second's; of an empty one nothing. Raises DataError for unlike items."""
    if not len(first) or not len(second):
        return second if len(second) else first
    shapes = [(len(d.columns), d.labels is None, sorted(d.slices), d.pair) for d in (first, second)]
    if shapes[0] != shapes[1]:
        raise DataError("two sets of items with other columns, labels or slices cannot be learned together")
    return Dataset(
        columns=tuple(_column(a, b) for a, b in zip(first.columns, second.columns, strict=True)),
        labels=None if first.labels is None or second.labels is None else _array(first.labels, second.labels),
        slices=_slices(first.slices, second.slices),
        pair=first.pair,
        names=first.names,
    )


def _slices(first: Mapping[str, Array], second: Mapping[str, Array]) -> dict[str, Array]:
    return {name: _array(first[name], second[name]) for name in first}


def _column(first: Column, second: Column) -> Column:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return _array(first, second)
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        raise DataError("a column holds texts in one set of items and numbers in the other; mend it first")
    return [*first, *second]


def _array(first: Array, second: Array) -> Array:
    if first.shape[1:] != second.shape[1:]:
        raise DataError(f"a column gives {first.shape[1:]} an item in one set of items and {second.shape[1:]} in the other")
    return np.concatenate([first, second])
