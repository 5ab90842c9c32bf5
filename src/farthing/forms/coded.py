"""Weights of few values in one stream of coded bytes: a module that is stored so and decoded when it is opened."""

import math
import pickle
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from farthing.errors import ModelError
from farthing.forms import coding
from farthing.forms.packed import Packed, PackedTensor, hollow
from farthing.types import Array

SEAL = struct.Struct("<2sI")  # magic, checksum of what follows
MAGIC = b"fw"
DTYPES = (None, torch.float32, torch.float16)  # of what is written as it is; None: there is none
WHOLE = 3  # in the place of a dtype: integers from 0 to 255, a table of their own


class Coded(Packed):
    """A `Packed` module on disk as: seal, the coded weights (`write`), then the rest of the module, pickled and deflated."""

    def __init__(self, module: torch.nn.Module, tensors: Mapping[str, PackedTensor]) -> None:
        super().__init__(module, tensors)
        self.stream = write(list(self.tensors.values()))

    def __getstate__(self) -> dict[str, Any]:
        from farthing.forms import torch_form

        rest = zlib.compress(torch_form.dumps((hollow(self.module, self.tensors), list(self.tensors))), 9)
        body = _number(len(self.stream)) + self.stream + rest
        return {"sealed": SEAL.pack(MAGIC, zlib.crc32(body)) + body}

    def __setstate__(self, state: dict[str, Any]) -> None:
        sealed = state["sealed"]
        body = sealed[SEAL.size :]
        if len(sealed) < SEAL.size or SEAL.unpack_from(sealed) != (MAGIC, zlib.crc32(body)):
            raise ModelError(f"coded weights of {len(sealed):,} bytes are damaged: the checksum differs. Copy the file again.")
        numbers = _Bytes(body)
        stream = numbers.take(numbers.number())
        module, names = pickle.loads(zlib.decompress(body[numbers.place :]))
        Packed.__init__(self, module, dict(zip(names, read(stream), strict=True)))
        self.stream = stream


def write(tensors: Sequence[PackedTensor]) -> bytes:
    """Everything that is needed to rebuild these weights but their names: shapes, levels, scales, offsets and codes."""
    facts, tables = bytearray(_number(len(tensors))), list[Array]()
    for tensor in tensors:
        lean = _lean(tensor)
        codes = lean.codes().numpy()
        tables.append(codes if len(lean.shape) > 1 else codes.reshape(1, -1))
        facts += _facts(lean)
        if lean.zero is not None and _is_whole(lean.zero):
            tables.append(lean.zero.numpy().astype(np.uint8))
    return bytes(facts) + coding.encode(tables)


def read(stream: bytes) -> list[PackedTensor]:
    """What `write` was given, but for levels that no weight has."""
    data = _Bytes(stream)
    found = [_told(data) for _ in range(data.number())]
    tables = iter(coding.decode(stream[data.place :], [shape for one in found for shape in one.tables]))
    return [one.tensor(tables) for one in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """A tensor of which all is known but its tables."""

    shape: tuple[int, ...]
    bits: int
    group_size: int | None
    scale: torch.Tensor
    zero: torch.Tensor | None
    zero_is_coded: bool
    levels: torch.Tensor | None

    @property
    def tables(self) -> list[tuple[int, int]]:
        size = math.prod(self.shape)
        codes = (self.shape[0], size // self.shape[0] if size else 0) if len(self.shape) > 1 else (1, size)
        scales = (self.scale.shape[0], self.scale.shape[1])
        return [codes, scales] if self.zero_is_coded else [codes]

    def tensor(self, tables: Iterator[Array]) -> PackedTensor:
        codes = torch.from_numpy(next(tables)).reshape(self.shape)
        zero = torch.from_numpy(next(tables)).float() if self.zero_is_coded else self.zero
        return PackedTensor.of(codes, self.bits, self.scale, zero=zero, levels=self.levels, group_size=self.group_size)


def _facts(tensor: PackedTensor) -> bytes:
    """bits and dtypes in two bytes; shape; group size; then what is written as it is."""
    unit = tensor.scale.numel() == 1 and float(tensor.scale) == 1.0
    zero = None if tensor.zero is None else WHOLE if _is_whole(tensor.zero) else DTYPES.index(tensor.zero.dtype)
    kinds = (0 if unit else DTYPES.index(tensor.scale.dtype), zero or 0)
    level = 0 if tensor.levels is None else DTYPES.index(tensor.levels.dtype)
    found = bytearray([tensor.bits - 1 + 8 * kinds[0] + 32 * kinds[1], level + 4 * len(tensor.shape)])
    for size in (*tensor.shape, tensor.group_size or 0):
        found += _number(size)
    if not unit:
        found += _number(tensor.scale.shape[0]) + _number(tensor.scale.shape[1]) + _raw(tensor.scale)
    if tensor.zero is not None and zero != WHOLE:
        found += _raw(tensor.zero)
    if tensor.levels is not None:
        found += _number(len(tensor.levels)) + _raw(tensor.levels)
    return bytes(found)


def _told(data: "_Bytes") -> _Told:
    """The inverse of `_facts`."""
    kinds, (more,) = data.take(1)[0], data.take(1)
    scale_dtype, zero_kind, level_dtype = DTYPES[kinds // 8 % 4], kinds // 32, DTYPES[more % 4]
    shape, group_size = tuple(data.number() for _ in range(more // 4)), data.number() or None
    size = (data.number(), data.number()) if scale_dtype is not None else (1, 1)
    scale = torch.ones(1, 1) if scale_dtype is None else data.tensor(size, scale_dtype)
    zero = data.tensor(size, dtype) if zero_kind < WHOLE and (dtype := DTYPES[zero_kind]) is not None else None
    levels = None if level_dtype is None else data.tensor((data.number(),), level_dtype)
    return _Told(
        shape=shape, bits=kinds % 8 + 1, group_size=group_size, scale=scale, zero=zero, zero_is_coded=zero_kind == WHOLE,
        levels=levels,
    )  # fmt: skip


def _lean(tensor: PackedTensor) -> PackedTensor:
    """The same values, an offset for each scale, without the levels that none of them has."""
    if tensor.zero is not None:
        tensor = replace(tensor, zero=tensor.zero.expand_as(tensor.scale))
    if tensor.levels is None or not math.prod(tensor.shape):
        return tensor
    codes = tensor.codes()
    used = torch.bincount(codes.flatten().int(), minlength=len(tensor.levels)) > 0
    numbers = (used.cumsum(0) - 1).clamp_min(0).to(torch.uint8)
    bits = max(1, (int(used.sum()) - 1).bit_length())
    lean = PackedTensor.of(numbers.index_select(0, codes.flatten().int()).reshape(tensor.shape), bits, tensor.scale)
    return replace(lean, zero=tensor.zero, levels=tensor.levels[used], group_size=tensor.group_size)


def _is_whole(zero: torch.Tensor) -> bool:
    return bool(zero.numel() and (zero == zero.round()).all() and zero.min() >= 0 and zero.max() <= 255)


class _Bytes:
    """Bytes, taken one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, count: int) -> bytes:
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self) -> int:
        """Seven bits a byte, the low ones first; the eighth says that more follow."""
        value = shift = 0
        while (byte := self.take(1)[0]) >= 128:
            value, shift = value + ((byte - 128) << shift), shift + 7
        return value + (byte << shift)

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        raw = bytearray(self.take(math.prod(shape) * dtype.itemsize))
        return torch.frombuffer(raw, dtype=dtype).reshape(shape).clone() if raw else torch.empty(shape, dtype=dtype)


def _number(value: int) -> bytes:
    """What `_Bytes.number` reads."""
    parts = bytearray()
    while value >= 128:
        parts.append(value % 128 + 128)
        value //= 128
    return bytes([*parts, value])


def _raw(values: torch.Tensor) -> bytes:
    return bytes(values.contiguous().numpy().tobytes())
