"""Method: each layer's weights in as many bits as it needs, so that the answers suffer least at a given average."""

import math
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
MOST_UNITS = 2**18  # that the budget is counted in

Error = Mapping[int, float]  # bits -> relative error of the answers when this weight alone has so many


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedBits(Method):
    """min over b of sum_l e_l(b_l), subject to sum_l n_l b_l <= average_bits sum_l n_l, b_l one of 2, 3, 4, 8.

    e_l(b) = ||y - y_l(b)||^2 / ||y||^2: y the model's answers to the calibration batches, y_l(b) those with weight l alone, of
    n_l values, in b bits (symmetric steps of least squared error for each filter, as `linear_bits`). Errors are taken to add
    up, as in HAWQ (Dong et al., arXiv 1905.03696), whose e is an eigenvalue of the Hessian times ||w - w'||^2; here they are
    measured. The sum is made least exactly, weight by weight, over all budgets (a knapsack with a choice for each weight).

    Scales come on top, the same whatever the bits. What runs is what `linear_bits` runs: on OpenVINO linear layers of up to 4
    bits take 4 there, those of 8 take 8; elsewhere weights are decoded when the model is opened.
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
        errors = _errors(module, list(found.values()), batches)
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

    best[u] after weight l: the least error of the weights up to l with u units of what is left beyond the fewest bits.
    A unit is what all sizes are multiples of; of a budget with too many of them, a share that each choice is rounded up to.
    """
    import numpy as np

    spare = int((average_bits - BITS[0]) * sum(sizes) + 1e-6)
    unit = max(math.gcd(*sizes), math.ceil(spare / MOST_UNITS))
    num_units = spare // unit
    best = np.zeros(num_units + 1)
    choices = []
    for error, size in zip(errors, sizes, strict=True):
        options = np.full((len(BITS), num_units + 1), np.inf)
        for row, bits in enumerate(BITS):
            units = -(-(bits - BITS[0]) * size // unit)
            options[row, units:] = best[: max(0, num_units + 1 - units)] + error[bits]
        choices.append(options.argmin(0).astype(np.uint8))
        best = options.min(0)
    left, taken = num_units, list[int]()
    for choice, size in zip(reversed(choices), reversed(sizes), strict=True):
        taken.append(BITS[choice[left]])
        left -= -(-(taken[-1] - BITS[0]) * size // unit)
    return tuple(reversed(taken))


def _errors(module: "torch.nn.Module", weights: "Sequence[torch.Tensor]", batches: Sequence[tuple[Any, ...]]) -> list[Error]:
    """What the answers lose with each weight alone in so many bits. Raises BuildError where they are 0, NaN or infinity."""
    import torch

    from farthing.forms.linear_grid import LinearGrid

    expected = _answers(module, batches)
    if not torch.isfinite(expected).all() or not expected.any():
        raise BuildError("mixed_bits: the model answers the calibration batches with nothing but 0, or with NaN or infinity")
    errors = list[Error]()
    for weight in weights:
        plain, error = weight.data, dict[int, float]()
        for bits in BITS:
            weight.data = LinearGrid(bits=bits).coded(plain).values()
            error[bits] = float((_answers(module, batches) - expected).square().sum() / expected.square().sum())
        weight.data = plain
        errors.append(error)
    return errors


def _answers(module: "torch.nn.Module", batches: Sequence[tuple[Any, ...]]) -> "torch.Tensor":
    """All values of the first outputs, in one row."""
    import torch

    from farthing.forms import torch_form

    with torch.no_grad():
        return torch.cat([torch_form.first(module(*batch)).float().flatten() for batch in batches])
