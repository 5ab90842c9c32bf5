"""Method: each layer's weights in as many bits as it needs, so that the answers suffer least at a given average."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Method, bytes_are_free, calibration
from farthing.results import Profile
from farthing.types import Context, Pipeline

if TYPE_CHECKING:
    import torch

BITS = (2, 3, 4, 8)
NUM_UNITS = 4096  # that the budget is counted in: an allocation is exact up to one of them for each layer

Error = Mapping[int, float]  # bits -> relative error of the answers when this weight alone has so many


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedBits(Method):
    """min over b of sum_l e_l(b_l), subject to sum_l n_l b_l <= average_bits sum_l n_l, b_l one of 2, 3, 4, 8.

    e_l(b) = ||y - y_l(b)||^2 / ||y||^2: y the original's answers to the calibration batches, y_l(b) those with weight l alone, of
    n_l values, in b bits (symmetric steps of least squared error for each filter, as `linear_bits`). Errors are taken to add
    up, as in HAWQ (Dong et al., arXiv 1905.03696), whose e is an eigenvalue of the Hessian times ||w - w'||^2; here they are
    measured. The sum is made least exactly, weight by weight, over all budgets (a knapsack with a choice for each weight).

    Scales come on top, the same whatever the bits. What runs is what `linear_bits` runs: on OpenVINO linear layers of up to 4 bits
    take 4 there, those of 8 take 8; elsewhere weights are decoded when the model is opened.
    """

    average_bits: float = 4.0

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"packed"})
    drops: ClassVar[frozenset[str]] = frozenset({"float_weights"})

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        from farthing.forms import grids, torch_form
        from farthing.forms.linear_grid import LinearGrid

        if not BITS[0] <= self.average_bits <= BITS[-1]:
            raise BuildError(f"mixed_bits: average_bits lies between {BITS[0]} and {BITS[-1]}, not {self.average_bits:g}")
        try:
            batches = [torch_form.tensors(feeds, source.inputs) for feeds in calibration(context)]
        except BuildError as error:
            raise BuildError(f"mixed_bits: {error}") from error
        module = torch_form.load(source)
        found = dict(grids.weights(module, "mixed_bits"))
        errors = [_errors(module, weight, batches) for weight in found.values()]
        chosen = dict(zip(found, allocated(errors, [w.numel() for w in found.values()], self.average_bits), strict=True))
        result = grids.pack(module, "mixed_bits", lambda name: LinearGrid(bits=chosen[name]))
        return torch_form.derive(result, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return bytes_are_free(profile) or (cls(average_bits=4.0), cls(average_bits=3.0))

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0


def allocated(errors: Sequence[Error], sizes: Sequence[int], average_bits: float) -> tuple[int, ...]:
    """The bits of each weight: least sum of errors with sum(size * bits) <= average_bits * sum(sizes).

    best[u] after weight l: the least error of the weights up to l in u units of the budget. A choice is rounded up to whole
    units of what it takes beyond the fewest bits, so that the budget holds.
    """
    import numpy as np

    spare = (average_bits - BITS[0]) * sum(sizes)
    unit = spare / NUM_UNITS
    best = np.zeros(NUM_UNITS + 1)
    choices = []
    for error, size in zip(errors, sizes, strict=True):
        options = np.full((len(BITS), NUM_UNITS + 1), np.inf)
        for row, bits in enumerate(BITS):
            units = _units((bits - BITS[0]) * size, unit)
            if units <= NUM_UNITS:
                options[row, units:] = best[: NUM_UNITS + 1 - units] + error[bits]
        choices.append(options.argmin(0))
        best = options.min(0)
    left, taken = NUM_UNITS, list[int]()
    for choice, size in zip(reversed(choices), reversed(sizes), strict=True):
        bits = BITS[choice[left]]
        taken.append(bits)
        left -= _units((bits - BITS[0]) * size, unit)
    return tuple(reversed(taken))


def _units(extra: float, unit: float) -> int:
    """Whole units that `extra` takes; a hair over is none."""
    import math

    return math.ceil(extra / unit - 1e-9) if extra else 0


def _errors(module: "torch.nn.Module", weight: "torch.Tensor", batches: Sequence[tuple[Any, ...]]) -> Error:
    """What the answers lose with this weight alone in so many bits. Raises BuildError where they are not finite."""
    import torch

    from farthing.forms.linear_grid import LinearGrid

    expected = _answers(module, batches)
    if not torch.isfinite(expected).all() or not expected.any():
        raise BuildError("mixed_bits: the model answers the calibration batches with nothing but 0, or with NaN or infinity")
    plain = weight.data
    errors = {}
    for bits in BITS:
        weight.data = LinearGrid(bits=bits).coded(plain).values()
        errors[bits] = float((_answers(module, batches) - expected).square().sum() / expected.square().sum())
    weight.data = plain
    return errors


def _answers(module: "torch.nn.Module", batches: Sequence[tuple[Any, ...]]) -> "torch.Tensor":
    """All values of the first outputs, in one row."""
    import torch

    from farthing.forms import torch_form

    with torch.no_grad():
        return torch.cat([torch_form.first(module(*batch)).float().flatten() for batch in batches])
