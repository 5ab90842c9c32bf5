"""Method: every weight is 0 or a power of two, and, where asked for, so are the inputs of layers that see no negative ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Method, bytes_are_free, calibration
from farthing.results import Profile
from farthing.types import Context, Pipeline

MOST_BITS = 6  # 31 powers of either sign: with more, the smallest weights are told apart to no end


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerOfTwo(Method):
    """w ~= sign(w) 2^k, k = clamp(round(log2 |w|), top - 2^(b-1) + 2, top), and 0, which has a code of its own, where |w| is
    less than half the smallest power; top = round(log2 max |w|) of the filter.

    Miyashita et al., arXiv 1603.01025; the powers of INQ (arXiv 1702.03044) without its training in steps: `qat` with
    grid = power_of_two learns with them. Steps are fine near 0, where most weights are, and coarse far off.

    activation_bits: 0 leaves activations alone. Else inputs of linear and convolution layers that are never negative, and
    skewed to small values, on all calibration batches are rounded to 2^k too (`forms.log_inputs`). No runtime here shifts
    instead of multiplying: weights are decoded when the model is opened, products are float32, and rounding activations costs
    time. It tells what a device that shifts would answer, and is never proposed. On OpenVINO weights are stored as float32.
    """

    bits: int = 4
    activation_bits: int = 0

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"packed"})
    drops: ClassVar[frozenset[str]] = frozenset({"float_weights"})

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        from farthing.forms import grids, log_inputs, torch_form

        grids.check_bits("power_of_two", self.bits, 2, MOST_BITS)
        if self.activation_bits:
            grids.check_bits("power_of_two", self.activation_bits, 2, MOST_BITS, "activation_bits")
        module = torch_form.load(source)
        if self.activation_bits:
            try:
                batches = [torch_form.tensors(feeds, source.inputs) for feeds in calibration(context)]
            except BuildError as error:
                raise BuildError(f"power_of_two: {error}") from error
            log_inputs.round_inputs(module, batches, self.activation_bits, "power_of_two")
        grid = grids.PowerOfTwo(bits=self.bits)
        result = grids.pack(module, "power_of_two", lambda _: grid)
        return torch_form.derive(result, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return bytes_are_free(profile) or (cls(bits=4),)

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0
