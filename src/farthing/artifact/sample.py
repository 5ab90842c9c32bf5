"""The items that an artifact carries, so that others can check its quality: inputs, labels and everybody's answers to them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farthing import codec
from farthing.types import Array, Column, Dataset

FILE = "sample.json"
MOST_ITEMS = 512
MOST_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    items: Dataset
    original: Array  # (n, ...) the original's predictions, as metrics read them
    answers: Array | None = None  # (n, ...) this artifact's own, when it was saved


def drawn(sample: Sample, seed: int = 0) -> Sample:
    """At most MOST_ITEMS items of MOST_BYTES in all, drawn without replacement, in their order."""
    item_bytes = sum(_num_bytes(column) for column in sample.items.columns) / len(sample.items)
    num_items = max(1, min(len(sample.items), MOST_ITEMS, int(MOST_BYTES / max(item_bytes, 1.0))))
    chosen = np.sort(np.random.default_rng(seed).choice(len(sample.items), num_items, replace=False))
    return Sample(items=sample.items.take(chosen), original=sample.original[chosen])


def write(sample: Sample, directory: Path) -> None:
    values = {"items": sample.items, "original": sample.original, "answers": sample.answers}
    (directory / FILE).write_text(json.dumps(codec.to_json(values), indent=1))


def read(directory: Path) -> Sample:
    return Sample(**codec.from_json(json.loads((directory / FILE).read_text())))


def _num_bytes(column: Column) -> int:
    return column.nbytes if isinstance(column, np.ndarray) else sum(len(text.encode()) for text in column)
