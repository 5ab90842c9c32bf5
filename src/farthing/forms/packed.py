"""Weights of few values: codes of b bits, levels, scales; a module that is stored so and runs with the weights decoded."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from farthing.errors import BuildError

MOST_BITS = 8
BYTE = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedTensor:
    """w[o, i] = scale[o, g] (levels[code[o, i]] - zero[o, g]), where g = i // group_size and o is the first axis of `shape`.

    All further axes of the tensor are flattened into i. Without `levels` a code means itself (an affine grid, as int4 and int8
    are); without `zero` it is 0. One scale for the whole tensor, or one for each o, is a scale of shape (1, 1) or (o, 1).
    """

    packed: torch.Tensor  # uint8: the codes of all values in order, `bits` each, the least significant bit first
    bits: int
    shape: tuple[int, ...]
    scale: torch.Tensor  # (o or 1, groups), float32 or float16
    zero: torch.Tensor | None = None  # of the same shape or, one for all, (1, 1); these types or uint8
    levels: torch.Tensor | None = None  # (2**bits,) or fewer
    group_size: int | None = None  # None: one group for all i

    @classmethod
    def of(
        cls,
        codes: torch.Tensor,
        bits: int,
        scale: torch.Tensor,
        *,
        zero: torch.Tensor | None = None,
        levels: torch.Tensor | None = None,
        group_size: int | None = None,
    ) -> "PackedTensor":
        """`codes` has the tensor's own shape and holds integers of 0 to 2**bits - 1."""
        if not 1 <= bits <= MOST_BITS:
            raise BuildError(f"packed weights have 1 to {MOST_BITS} bits each, not {bits}")
        least, most = codes.aminmax()
        assert int(least) >= 0 and int(most) < 2**bits, "codes that do not fit their bits"
        return cls(
            packed=pack(codes, bits), bits=bits, shape=tuple(codes.shape), scale=scale, zero=zero, levels=levels,
            group_size=group_size,
        )  # fmt: skip

    def codes(self) -> torch.Tensor:
        """(o, i) uint8"""
        return unpack(self.packed, self.bits, math.prod(self.shape)).reshape(self.shape[0], -1)

    def decode(self) -> torch.Tensor:
        """The float32 weight, of `shape`."""
        codes_OI = self.codes()
        values = codes_OI.float() if self.levels is None else self.levels.float()[codes_OI.long()]
        size = self.group_size or codes_OI.shape[1]
        padded = torch.nn.functional.pad(values, (0, -values.shape[1] % size))
        grouped_OGS = padded.unflatten(1, (-1, size))
        if self.zero is not None:
            grouped_OGS = grouped_OGS - self.zero.float()[..., None]
        return (grouped_OGS * self.scale.float()[..., None]).flatten(1)[:, : codes_OI.shape[1]].reshape(self.shape)

    @property
    def num_bytes(self) -> int:
        """Of codes, scales, offsets and levels."""
        parts = (self.packed, self.scale, self.zero, self.levels)
        return sum(part.numel() * part.element_size() for part in parts if part is not None)


class Packed(torch.nn.Module):  # type: ignore[misc]
    """Another module, some of whose weights are stored packed. Decoded when it is opened, it runs as floats do.

    `tensors` maps the name of a parameter (as in `named_parameters`) to what its value is.
    """

    def __init__(self, module: torch.nn.Module, tensors: Mapping[str, PackedTensor]) -> None:
        super().__init__()
        self.module, self.tensors = module, dict(tensors)
        self._decode()

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.module(*inputs)

    def __getstate__(self) -> dict[str, Any]:
        """All but the floats that `tensors` can give back."""
        state = self.__dict__.copy()
        state["_modules"] = {**self._modules, "module": hollow(self.module, self.tensors)}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._decode()

    def _decode(self) -> None:
        for name, tensor in self.tensors.items():
            self.module.get_parameter(name).data = tensor.decode()


def hollow(module: torch.nn.Module, names: Mapping[str, object]) -> torch.nn.Module:
    """A copy of `module` in which the parameters of these names hold nothing."""
    memo: dict[int, Any] = {}
    for name in names:
        parameter = module.get_parameter(name)
        memo[id(parameter)] = torch.nn.Parameter(torch.empty(0, dtype=parameter.dtype), requires_grad=False)
    return copy.deepcopy(module, memo)


def pack(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """uint8: the low `bits` bits of each code, one after the other, the last byte filled up with zeros."""
    flat = codes.reshape(-1).to(torch.uint8)
    if bits == BYTE:
        return flat.clone()
    pieces, width = (flat, bits) if BYTE % bits == 0 else (_bits_of(flat, bits).reshape(-1), 1)  # none of which spans two bytes
    padded = torch.nn.functional.pad(pieces, (0, -len(pieces) % (BYTE // width))).reshape(-1, BYTE // width)
    result = padded[:, 0].clone()
    for place in range(1, BYTE // width):
        result |= padded[:, place] << place * width
    return result


def unpack(packed: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """The inverse of `pack`: (count,) uint8."""
    if bits == BYTE:
        return packed[:count].clone()
    if BYTE % bits == 0:
        pieces = [packed >> place & 2**bits - 1 for place in range(0, BYTE, bits)]
        return torch.stack(pieces, 1).reshape(-1)[:count]
    stream = _bits_of(packed, BYTE).reshape(-1)[: count * bits].reshape(count, bits)
    return (stream << torch.arange(bits, dtype=torch.uint8)).sum(1, dtype=torch.uint8)


def _bits_of(values: torch.Tensor, bits: int) -> torch.Tensor:
    """(n, bits), the least significant first."""
    return (values[:, None] >> torch.arange(bits, dtype=torch.uint8)) & 1
