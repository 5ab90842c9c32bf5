"""What a model answers, found by running it: the names of its outputs' axes, and that it answers the same question alike."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from farthing.errors import ModelError
from farthing.types import Array, Feeds, TensorSpec

Run = Callable[[Feeds], list[Array]]
SMALL, LARGE = {"batch": 2, "length": 5}, {"batch": 3, "length": 7}  # a size that follows an axis differs between the two


def outputs_of(run: Run, example: Feeds, inputs: Sequence[TensorSpec], names: Sequence[str] = ()) -> tuple[TensorSpec, ...]:
    """The specs of what `run` gives for `example` at two shapes. Names default to "output", "output_1", ...

    Raises ModelError if an output has no batch axis, an axis follows neither batch nor length, a value is not finite, or
    two runs of the same feeds differ.
    """
    small, large = resized(example, inputs, **SMALL), resized(example, inputs, **LARGE)
    first, second, other = run(small), run(small), run(large)
    specs = []
    for i, (value, again, larger) in enumerate(zip(first, second, other, strict=True)):
        name = names[i] if names else f"output_{i}" if i else "output"
        if value.shape != again.shape or not np.allclose(value, again, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise ModelError(f"{name} differs between two runs of the same input: switch off what is random in the model")
        if not (np.isfinite(value).all() and np.isfinite(larger).all()):
            raise ModelError(
                f"{name} holds NaN or infinity for {_shapes(small)}: mend the model, or give another example input"
            )
        specs.append(TensorSpec(name=name, dtype=str(value.dtype), shape=_axes(name, value, larger)))
    return tuple(specs)


def resized(feeds: Feeds, inputs: Iterable[TensorSpec], *, batch: int, length: int) -> Feeds:
    """The same feeds in another size: rows and tokens repeated in a ring, so that every value stays a valid one."""
    sizes = {"batch": batch, "length": length}
    for spec in inputs:
        for axis, name in enumerate(spec.shape):
            if isinstance(name, str):
                feeds = feeds | {spec.name: np.take(feeds[spec.name], range(sizes[name]), axis=axis, mode="wrap")}
    return feeds


def _axes(name: str, small: Array, large: Array) -> tuple[int | str, ...]:
    if small.ndim != large.ndim:
        raise ModelError(f"{name} has shape {small.shape} for a small input and {large.shape} for a larger one")
    known: dict[tuple[int, int], str] = {(SMALL[axis], LARGE[axis]): axis for axis in SMALL}
    axes: list[int | str] = []
    for a, b in zip(small.shape, large.shape, strict=True):
        if a != b and (a, b) not in known:
            raise ModelError(f"{name} has shape {small.shape}, then {large.shape}: an axis follows neither batch nor length")
        axes.append(a if a == b else known[a, b])
    if not axes or axes[0] != "batch":
        raise ModelError(f"{name} has shape {small.shape} for {SMALL['batch']} items: its first axis must be the batch")
    return tuple(axes)


def _shapes(feeds: Feeds) -> str:
    return ", ".join(f"{name} {value.shape}" for name, value in feeds.items())
