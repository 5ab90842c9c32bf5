"""Weights of few values in any layer: which parameters, which codes; powers of two, three values, two values.

Shape suffixes: O first axis of a weight, G groups of the rest, S values of a group.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from farthing.errors import BuildError
from farthing.forms.packed import Packed, PackedTensor
from farthing.forms.weights import matrices

FEWEST_WEIGHTS = 256  # of a parameter: what is written about a smaller one outweighs what its codes save
TERNARY_THRESHOLD = 0.7  # of mean |w| (TWN)
HALF_LEAST, HALF_MOST = 2.0**-14, 65504.0  # between them half precision is off by at most 2**-11 of a value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coded:
    """w = scale (levels[code] - zero), as `PackedTensor`, with the codes, (o, g, s) floats, still in a tensor of their own."""

    codes: torch.Tensor
    bits: int
    shape: tuple[int, ...]
    scale: torch.Tensor
    zero: torch.Tensor | None = None
    levels: torch.Tensor | None = None

    def values(self) -> torch.Tensor:
        """The weight, of `shape`."""
        values_OGS = self.codes if self.levels is None else self.levels[self.codes.long()]
        if self.zero is not None:
            values_OGS = values_OGS - self.zero[..., None].to(self.scale.dtype)
        return (values_OGS * self.scale[..., None]).reshape(self.shape)

    def packed(self) -> PackedTensor:
        """Scales that half precision holds are stored so."""
        is_grouped = self.codes.shape[1] > 1
        return PackedTensor.of(
            self.codes.reshape(self.shape).to(torch.uint8), self.bits, stored(self.scale), zero=self.zero,
            levels=self.levels, group_size=self.codes.shape[2] if is_grouped else None,
        )  # fmt: skip


class Grid(Protocol):
    def coded(self, weight: torch.Tensor) -> Coded:
        """The grid that fits this weight (o, ...), and the code of each value."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerOfTwo:
    """w ~= sign(w) 2^k, k = round(log2 |w|) (Miyashita et al., arXiv 1603.01025); 0 where |w| < 2^(k_min - 1).

    k goes from round(log2 max |w|) of the filter down over 2^(bits-1) - 1 values, for either sign; 0 has a code of its own.
    """

    bits: int

    def coded(self, weight: torch.Tensor) -> Coded:
        weight_O1S = weight.reshape(len(weight), 1, -1)
        most_O1 = weight_O1S.abs().amax(-1)
        top_O1 = exponent(most_O1)
        num_sizes = 2 ** (self.bits - 1) - 1
        size_O1S = (exponent(weight_O1S.abs()) - top_O1[..., None] + num_sizes).clamp_max(num_sizes)  # 1 to num_sizes
        least_O1S = torch.exp2(top_O1[..., None] - num_sizes)  # half the smallest power
        size_O1S = torch.where(weight_O1S.abs() < least_O1S, 0.0, size_O1S.clamp_min(1.0))
        return Coded(
            codes=size_O1S * weight_O1S.sign() + num_sizes, bits=self.bits, shape=tuple(weight.shape),
            scale=torch.where(most_O1 > 0, torch.exp2(top_O1), 0.0), levels=powers(num_sizes),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ternary:
    """w ~= a t, t = sign(w) where |w| > d, else 0; d = 0.7 mean |w|, a = mean of the |w| > d; for each filter.

    Li et al., Ternary Weight Networks, arXiv 1605.04711.
    """

    bits: int = 2

    def coded(self, weight: torch.Tensor) -> Coded:
        weight_O1S = weight.reshape(len(weight), 1, -1)
        size_O1S = weight_O1S.abs()
        is_far_O1S = size_O1S > TERNARY_THRESHOLD * size_O1S.mean(-1, keepdim=True)
        scale_O1 = (size_O1S * is_far_O1S).sum(-1) / is_far_O1S.sum(-1).clamp_min(1)
        return Coded(
            codes=weight_O1S.sign() * is_far_O1S + 1, bits=self.bits, shape=tuple(weight.shape), scale=scale_O1,
            zero=torch.ones(1, 1, dtype=torch.uint8),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """w ~= a b, b = sign(w) with sign(0) = 1, a = mean |w|; for each filter. Stored as 2 a (code - 1/2).

    Rastegari et al., XNOR-Net, arXiv 1603.05279 (its Binary-Weight-Network).
    """

    bits: int = 1

    def coded(self, weight: torch.Tensor) -> Coded:
        weight_O1S = weight.reshape(len(weight), 1, -1)
        return Coded(
            codes=(weight_O1S >= 0).to(weight.dtype), bits=self.bits, shape=tuple(weight.shape),
            scale=2 * weight_O1S.abs().mean(-1), zero=torch.full((1, 1), 0.5, dtype=torch.float16),
        )  # fmt: skip


def weights(module: nn.Module, method: str, *, but: Collection[str] = ()) -> list[tuple[str, nn.Parameter]]:
    """(name, parameter) of every matrix and filter worth packing: of linear, convolution, recurrent and embedding layers.

    `but`: paths of layers that are left out. Raises BuildError, beginning with `method`, where there is none, and naming one
    that holds NaN or infinity.
    """
    found = [
        (name, weight) for name, weight in matrices(module, method, fewest=FEWEST_WEIGHTS).items()
        if "weight" in name.rpartition(".")[2] and name.rpartition(".")[0] not in but
    ]  # fmt: skip
    if not found:
        rest = f" besides {', '.join(sorted(but))}" if but else ""
        raise BuildError(f"{method}: {type(module).__name__} has no weight of {FEWEST_WEIGHTS} values or more{rest}")
    return found


def layers(module: nn.Module, method: str) -> dict[str, str]:
    """The paths of the layers whose `weights` are worth packing, each by itself: what `kept_in_float` looks through."""
    paths = (name.rpartition(".")[0] for name, _ in weights(module, method))
    return {path: path for path in paths}


def pack(module: nn.Module, method: str, grid_of: Callable[[str], Grid], *, but: Collection[str] = ()) -> Packed:
    """`module` with each of its `weights` on the grid that `grid_of` gives for its name."""
    found = weights(module, method, but=but)
    return Packed(module, {name: grid_of(name).coded(weight.detach().float()).packed() for name, weight in found})


def check_bits(method: str, bits: int, least: int, most: int, knob: str = "bits") -> None:
    """Raises BuildError, beginning with `method`, for bits outside of least to most."""
    if not least <= bits <= most:
        raise BuildError(f"{method}: {knob} lie between {least} and {most}, not {bits}")


def stored(scale: torch.Tensor) -> torch.Tensor:
    """In half precision where its range holds every value, else as it is."""
    fits = bool(((scale == 0) | ((scale >= HALF_LEAST) & (scale <= HALF_MOST))).all())
    return scale.half() if fits else scale


def exponent(size: torch.Tensor) -> torch.Tensor:
    """round(log2 size); of 0, far below any other."""
    return size.clamp_min(torch.finfo(torch.float32).tiny).log2().round()


def powers(num_sizes: int) -> torch.Tensor:
    """(2 num_sizes + 1,) -1, -1/2, ..., 0, ..., 1/2, 1: what the codes of `PowerOfTwo` stand for."""
    positive = torch.exp2(torch.arange(1 - num_sizes, 1, dtype=torch.float32))
    return torch.cat([-positive.flip(0), torch.zeros(1), positive])
