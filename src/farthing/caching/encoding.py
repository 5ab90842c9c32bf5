"""Items and answers as bytes, exactly and in one way only: what a cache keys by and keeps. No pickle."""

import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

MOST_DEPTH = 32


def to_bytes(value: Any) -> bytes:
    """Equal bytes for equal values of equal types, and only for them: type, length and content of every part.

    None, bool, int, float, str, bytes, NumPy arrays and scalars, tuples, lists and mappings with str keys (in the order of
    the keys). Raises TypeError naming any other type, and nesting beyond MOST_DEPTH.
    """
    parts: list[bytes] = []
    _write(value, parts, MOST_DEPTH)
    return b"".join(parts)


def from_bytes(data: bytes) -> Any:
    """The value; its arrays are read-only, as many may hold them. Raises ValueError for bytes that `to_bytes` did not write."""
    try:
        value, end = _read(data, 0)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"{len(data)} bytes that are no cached value: {error}") from error
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes too many behind a cached value")
    return value


def _write(value: Any, parts: list[bytes], depth: int) -> None:
    if depth == 0:
        raise TypeError(f"nested more than {MOST_DEPTH} deep: flatten it")
    kind = _KINDS.get(type(value))
    if kind is not None:
        content = kind[1](value)
        parts += (kind[0], _LENGTH(len(content)), content)
    elif isinstance(value, np.ndarray | np.generic):
        _write_array(np.asarray(value), parts)
    elif isinstance(value, tuple | list):
        parts.append((b"t" if isinstance(value, tuple) else b"l") + _LENGTH(len(value)))
        for part in value:
            _write(part, parts, depth - 1)
    elif isinstance(value, Mapping):
        _write_mapping(value, parts, depth)
    else:
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(f"{name} cannot be cached: give arrays, numbers or texts")


def _write_mapping(value: Mapping[Any, Any], parts: list[bytes], depth: int) -> None:
    keys = sorted(value)
    parts.append(b"d" + _LENGTH(len(keys)))
    for key in keys:
        if not isinstance(key, str):
            raise TypeError(f"a key of type {type(key).__name__} has no order beside others: use str")
        _write(key, parts, depth - 1)
        _write(value[key], parts, depth - 1)


def _write_array(array: Any, parts: list[bytes]) -> None:
    if array.dtype.hasobject or array.dtype.names:
        raise TypeError(f"an array of {array.dtype} cannot be cached: use numbers or fixed-width text")
    kind = array.dtype.str.encode()
    header = struct.pack("<bb", len(kind), array.ndim) + kind + struct.pack(f"<{array.ndim}q", *array.shape)
    parts += [b"a", header, array.tobytes()]


def _read(data: bytes, at: int) -> tuple[Any, int]:
    tag = data[at : at + 1]
    if tag == b"a":
        return _read_array(data, at + 1)
    (length,) = struct.unpack_from("<q", data, at + 1)
    at += 9
    if length < 0 or length > len(data):
        raise ValueError(f"a length of {length} in {len(data)} bytes")
    if tag in (b"t", b"l", b"d"):
        values = []
        for _ in range(2 * length if tag == b"d" else length):
            value, at = _read(data, at)
            values.append(value)
        if tag == b"d":
            return dict(zip(values[::2], values[1::2], strict=True)), at
        return (tuple(values) if tag == b"t" else values), at
    content = data[at : at + length]
    if len(content) != length or tag not in _SCALARS:
        raise ValueError(f"torn, or an unknown tag {tag!r}")
    return _SCALARS[tag](content), at + length


def _read_array(data: bytes, at: int) -> tuple[Any, int]:
    kind_length, num_axes = struct.unpack_from("<bb", data, at)
    at += 2
    dtype = np.dtype(data[at : at + kind_length].decode())
    at += kind_length
    shape = struct.unpack_from(f"<{num_axes}q", data, at)
    at += 8 * num_axes
    count = int(np.prod(shape, dtype=np.int64))
    if dtype.itemsize == 0:
        return np.zeros(shape, dtype), at
    return np.frombuffer(data, dtype, count=count, offset=at).reshape(shape), at + count * dtype.itemsize


_LENGTH = struct.Struct("<q").pack
_KINDS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    str: (b"s", lambda value: value.encode("utf-8", "surrogatepass")),
    bytes: (b"b", bytes),
    bool: (b"?", lambda value: b"\1" if value else b"\0"),
    int: (b"i", lambda value: b"%d" % value),
    float: (b"f", struct.Struct("<d").pack),
    type(None): (b"n", lambda _: b""),
}
_SCALARS: dict[bytes, Any] = {
    b"s": lambda content: content.decode("utf-8", "surrogatepass"),
    b"b": bytes,
    b"?": lambda content: content == b"\1",
    b"i": int,
    b"f": lambda content: struct.unpack("<d", content)[0],
    b"n": lambda content: None,
}
