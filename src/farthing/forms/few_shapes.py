"""Padding that lets a runtime meet few shapes, where each new one costs it time once."""

import numpy as np

from farthing.types import Array, Feeds, Pipeline

LENGTH_STEP = 16  # tokens


def fewer_rows(num_items: int) -> int:
    """The next of 1, 2, ..., 8, 10, 12, 14, 16, 20, ...: four sizes an octave, at most a quarter more than asked."""
    step = 1 << max(0, (num_items - 1).bit_length() - 3)
    return -(-num_items // step) * step


class FewShapes:
    """Masked inputs are padded to whole LENGTH_STEPs, never past the model's longest; answers for each token are cut again."""

    def __init__(self, pipeline: Pipeline) -> None:
        masked = any(spec.name == "attention_mask" and "length" in spec.shape for spec in pipeline.inputs)
        self._axes = {spec.name: spec.shape.index("length") for spec in pipeline.inputs if masked and "length" in spec.shape}
        self._cuts = [spec.shape.index("length") if masked and "length" in spec.shape else None for spec in pipeline.outputs]
        self._fills = {"input_ids": pipeline.pad_id}
        self._longest = pipeline.max_length

    def padded(self, feeds: Feeds) -> Feeds:
        return {name: self._widened(name, value) if name in self._axes else value for name, value in feeds.items()}

    def cut(self, answers: list[Array], feeds: Feeds) -> list[Array]:
        for i, axis in enumerate(self._cuts):
            if axis is not None:
                length = feeds["attention_mask"].shape[self._axes["attention_mask"]]
                answers[i] = answers[i].take(range(length), axis)
        return answers

    def _widened(self, name: str, value: Array) -> Array:
        axis = self._axes[name]
        length = value.shape[axis]
        wanted = -(-length // LENGTH_STEP) * LENGTH_STEP
        if self._longest is not None:
            wanted = max(length, min(wanted, self._longest))
        if wanted == length:
            return value
        wide = np.full((*value.shape[:axis], wanted, *value.shape[axis + 1 :]), self._fills.get(name, 0), value.dtype)
        wide[(slice(None),) * axis + (slice(length),)] = value
        return wide
