"""The contract of a method: one change of a model that makes it cheaper."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from farthing.errors import BuildError, DataError
from farthing.results import Profile
from farthing.types import Build, Context, Feeds, Pipeline

MIN_CALIBRATION_ROWS = 8  # fewer say next to nothing about a range
KEPT_SHARE = 0.1  # of the layers: on MiniLM it halves the error of int8, and costs a quarter of its speed
LEAST_GAIN = 1.2
FEWEST_TRAINING_ITEMS = 200  # fewer repair next to nothing
LEAST_READING = 0.2  # share of the time that goes in waiting for weights, below which fewer bits of them are not tried
READING = {8: 0.45, 4: 0.3}  # time of a product over float32, between one row and 32: benchmarks/results/packed.md
FEWEST_STEPS, MOST_EPOCHS = 400, 40  # of a training that moves weights far, as zeros and shared values do
Family = Literal["structure", "repair", "precision", "storage"]
# structure: less to compute; repair: learns back what structure lost; precision: the same work in fewer bits;
# storage: the same work and time, fewer bytes on disk

WEIGHTED = frozenset({"linear", "conv", "conv_transpose"})  # kinds of operator that multiply by weights


class Method(ABC):
    """A frozen dataclass; its fields are its knobs.

    Laws (checked over every member by `farthing.testing.methods`):
    - the source pipeline's files are not changed: digests before and after are equal.
    - the same context and seed give the same outputs.
    - the result has the source's form, the traits of the source minus `drops` plus `adds`, and can be opened.
    - what it cannot treat it refuses with a BuildError that begins with the member's name and says which layer, and why.
    - what it claims is real: an int8 model is stored in int8 (fewer bytes) and executed so.
    """

    consumes: ClassVar[frozenset[str]]  # forms it can read; it writes the same form
    needs: ClassVar[frozenset[str]] = frozenset()  # traits
    adds: ClassVar[frozenset[str]] = frozenset()
    drops: ClassVar[frozenset[str]] = frozenset()
    family: ClassVar[Family] = "precision"
    stands_alone: ClassVar[bool] = (
        True  # whether it is worth trying without a repair, a coder (storage) or learning (precision)
    )

    produces: ClassVar[str | None] = None  # another form than the one it read; None: the same
    changes_answers: ClassVar[bool] = True  # False: the same numbers, computed or stored in another way

    @abstractmethod
    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        """Write the changed pipeline into `directory` (use `pipeline.derive`). Runs in a worker process.

        Raises BuildError naming the layer and the reason where this model cannot be treated, and MissingExtra.
        """

    @classmethod
    @abstractmethod
    def propose(cls, profile: Profile) -> "tuple[Method, ...] | str":
        """The settings worth trying for this profile, best guess first; or why this method cannot pay here."""

    @abstractmethod
    def predicted_speedup(self, profile: Profile) -> float:
        """Guess, from the profile alone, of time(original) / time(after); orders the search, proves nothing."""

    @property
    def fallback(self) -> Build | None:
        """What runs where this step is left out of a recipe that is nothing without it; None: the recipe's other steps."""
        return None

    @property
    def names_layers(self) -> bool:
        """Whether this setting is about layers of the original by name, and so means nothing once the structure has changed."""
        return getattr(self, "keep_float", 0) > 0


def calibration(context: Context, who: str = "static int8") -> tuple[Feeds, ...]:
    """The batches that ranges are taken from. Raises BuildError if they have too few rows, DataError for NaN and infinity.

    `who`: the method, as its refusal begins.
    """
    num_rows = sum(len(next(iter(feeds.values()))) for feeds in context.calibration)
    if num_rows < MIN_CALIBRATION_ROWS:
        raise BuildError(
            f"{who} calibrates on at least {MIN_CALIBRATION_ROWS} rows; the calibrate split has {num_rows}. "
            "Give more data, or use a method that needs none."
        )
    for number, feeds in enumerate(context.calibration):
        for name, values in feeds.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise DataError(f"input {name!r} of calibration batch {number} holds NaN or infinity. Remove such items.")
    return context.calibration


def kept_in_float(num_layers: int, context: Context, paths: Mapping[str, str]) -> list[str]:
    """Operators of the `num_layers` most sensitive layers; `paths` maps each operator to what its graph calls its place.

    Graphs write the torch path a.b.0.c as /a/b.0/c/MatMul (ONNX) or __module.a.b.0.c/aten::linear/MatMul (OpenVINO).
    Raises BuildError if so many layers were not measured, or naming one that matches no operator.
    """
    if num_layers > len(context.sensitivities):
        raise BuildError(f"keep_float={num_layers}, but the sensitivity of only {len(context.sensitivities)} layers is known.")
    kept: list[str] = []
    for layer, _ in context.sensitivities[:num_layers]:
        found = [name for name, path in paths.items() if f".{layer}." in f".{path.replace('/', '.')}."]
        if not found:
            raise BuildError(f"layer {layer!r} cannot be kept in float: no operator of this graph bears its name.")
        kept += found
    return kept


def keeps(profile: Profile) -> tuple[int, ...]:
    """How many layers to try to keep in float: none, and a share of those whose sensitivity is known."""
    return (0, math.ceil(KEPT_SHARE * len(profile.sensitivities))) if profile.sensitivities else (0,)


def amdahl(profile: Profile, kinds: Iterable[str], dtype: str, *, kept: int = 0) -> float:
    """1 / (1 - share + share * peak_float32 / peak_dtype): share is what ops of `kinds` take, less that of `kept` layers."""
    peaks, kinds = profile.device.flops_per_s, frozenset(kinds)
    share = sum(op.seconds for op in profile.ops if op.kind in kinds) / (sum(op.seconds for op in profile.ops) or 1.0)
    share *= profile.model_s / (profile.model_s + profile.host_s)
    share *= 1.0 - kept / max(kept, len(profile.sensitivities), 1)
    return 1.0 / (1.0 - share + share * peaks["float32"] / peaks[dtype])


def share_of(profile: Profile, kinds: Iterable[str]) -> float:
    """Share of a request's time that operators of these kinds take, tokenizing and collating counted."""
    kinds, total_s = frozenset(kinds), sum(op.seconds for op in profile.ops) or 1.0
    share = sum(op.seconds for op in profile.ops if op.kind in kinds) / total_s
    return share * profile.model_s / (profile.model_s + profile.host_s)


def too_little_to_learn(profile: Profile) -> str | None:
    """Why nothing can be learned back here, or None where the train split has FEWEST_TRAINING_ITEMS."""
    if profile.num_train >= FEWEST_TRAINING_ITEMS:
        return None
    return (
        f"what it takes out has to be learned back, from at least {FEWEST_TRAINING_ITEMS} items of the train split, "
        f"which has {profile.num_train}"
    )


def epochs_for(profile: Profile, least: int) -> int:
    """At least `least`; more of a small train split, up to MOST_EPOCHS, so that there are FEWEST_STEPS of 32 items."""
    return max(least, min(MOST_EPOCHS, math.ceil(FEWEST_STEPS * 32 / max(1, profile.num_train))))


def mildest_where_nothing_is_learned(profile: Profile, settings: tuple[Method, ...]) -> tuple[Method, ...]:
    """All `settings`, mildest first; the first alone where there is too little to learn from.

    Calibration data can then still repair it (a method of repair that does not learn, `reconstruct`).
    """
    return settings if too_little_to_learn(profile) is None else settings[:1]


def bytes_are_free(profile: Profile) -> str | None:
    """Why a method that only saves bytes on disk cannot pay here, or None where the job limits them."""
    if profile.bytes_are_limited:
        return None
    return "it saves bytes, not time, and this job sets no limit on them (limits.artifact_bytes)"


def share_reading_weights(profile: Profile) -> float:
    """Share of a request's time in linear layers that wait for their weights: their products have so few rows."""
    total_s = sum(op.seconds for op in profile.ops) or 1.0
    waiting_s = sum(op.seconds for op in profile.ops if op.kind == "linear" and op.bound == "memory")
    return waiting_s / total_s * profile.model_s / (profile.model_s + profile.host_s)


def few_bits_cannot_pay(profile: Profile) -> str | None:
    """Why weights in few bits pay neither in time nor in bytes here, or None."""
    share = share_reading_weights(profile)
    if profile.bytes_are_limited or share >= LEAST_READING:
        return None
    return (
        f"reading weights takes {share:.0%} of the time: products of many rows are bound by arithmetic, which stays as it is "
        "(int8 makes it cheaper); and this job sets no limit on bytes (limits.artifact_bytes)"
    )


def few_bits_speedup(profile: Profile, bits: int) -> float:
    """1 / (1 - share + share * READING[bits]), share being that of the time in which layers wait for their weights."""
    share = share_reading_weights(profile)
    return 1.0 / (1.0 - share + share * READING.get(bits, READING[4]))


def slower_peak(profile: Profile, dtype: str) -> str | None:
    """Why `dtype` cannot pay on this device, or None where its peak is at least LEAST_GAIN times that of float32."""
    peaks = profile.device.flops_per_s
    if dtype not in peaks:
        return f"{profile.device.name} has no measured {dtype} peak"
    ratio = peaks[dtype] / peaks["float32"]
    return None if ratio >= LEAST_GAIN else f"{dtype} reaches only {ratio:.2f} times the float32 peak of {profile.device.name}"
