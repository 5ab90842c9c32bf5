"""The binary tensor extension of the Open Inference Protocol: JSON first, then the bytes of the tensors it names."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from farthing.serving import wire
from farthing.serving.wire import MOST_ITEMS, BadBody
from farthing.types import Array

HEADER = b"inference-header-content-length"  # bytes of the JSON at the beginning of the body
SIZE = "binary_data_size"
LENGTH_BYTES = 4  # before each text: its length, little-endian


def split(body: bytes, headers: Mapping[bytes, bytes]) -> Any:
    """The JSON of a request, in which a tensor that came as bytes has a `raw` of bytes in place of `data`. Raises BadBody."""
    given = headers.get(HEADER)
    if given is None:
        return wire.decoded(body)
    if not given.isdigit() or int(given) > len(body):
        raise BadBody(f"Inference-Header-Content-Length: {given.decode('latin-1')} is no length within {len(body)} bytes")
    told, at = wire.decoded(body[: int(given)]), int(given)
    inputs = told.get("inputs") if isinstance(told, dict) else None
    for one in inputs if isinstance(inputs, list) else ():
        size = _parameters(one).get(SIZE)
        if size is None:
            continue
        if type(size) is not int or not 0 <= size <= len(body) - at:
            raise BadBody(f"input {one.get('name')!r}: {SIZE} {size!r}, and {len(body) - at} bytes are left")
        one["raw"], at = body[at : at + size], at + size
    if at != len(body):
        raise BadBody(f"{len(body) - at} bytes belong to no input: their {SIZE} are missing")
    return told


def wanted(told: Any, name: str) -> bool:
    """Whether the answer named `name` is asked for as bytes."""
    outputs = told.get("outputs")
    for one in outputs if isinstance(outputs, list) else ():
        if isinstance(one, dict) and one.get("name") == name and "binary_data" in _parameters(one):
            return _parameters(one)["binary_data"] is True
    return _parameters(told).get("binary_data_output") is True


def joined(told: dict[str, Any], tensors: Mapping[str, Array]) -> tuple[bytes, dict[str, str]]:
    """A body and its headers: outputs in `tensors` lose their `data` and follow as little-endian bytes in row-major order."""
    parts = []
    for one in told["outputs"]:
        if (values := tensors.get(one["name"])) is not None:
            raw = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
            one["parameters"] = {SIZE: len(raw)}
            del one["data"]
            parts.append(raw)
    head = json.dumps(told, separators=(",", ":"), allow_nan=False).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return b"".join((head, *parts)), headers


def array(raw: bytes, dtype: str, shape: list[int], name: Any) -> Array:
    """Raises BadBody where the bytes do not fill the shape."""
    kind = np.dtype(dtype).newbyteorder("<")
    if len(raw) != kind.itemsize * int(np.prod(shape, dtype=np.float64)):
        raise BadBody(f"input {name!r}: {len(raw)} bytes do not fill the shape {shape}")
    return np.frombuffer(raw, kind).reshape(shape).astype(dtype)


def texts(raw: bytes, name: Any) -> list[str]:
    """Each text after its length. Raises BadBody for a length beyond the end, or what is no UTF-8."""
    found: list[str] = []
    at = 0
    while at < len(raw):
        end = at + LENGTH_BYTES + int.from_bytes(raw[at : at + LENGTH_BYTES], "little")
        if end > len(raw) or at + LENGTH_BYTES > len(raw) or len(found) >= MOST_ITEMS:
            raise BadBody(f"input {name!r}: text {len(found)} ends beyond the {len(raw)} bytes of it, or is one too many")
        try:
            found.append(raw[at + LENGTH_BYTES : end].decode())
        except UnicodeDecodeError as error:
            raise BadBody(f"input {name!r}: text {len(found)} is not UTF-8") from error
        at = end
    return found


def _parameters(one: Any) -> Mapping[str, Any]:
    parameters = one.get("parameters") if isinstance(one, dict) else None
    return parameters if isinstance(parameters, dict) else {}
