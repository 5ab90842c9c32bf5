"""Bodies of requests and answers: JSON, NumPy, Arrow; every item is checked alone, so that a bad one fails alone."""

import io
import json
import math
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import orjson

from farthing import artifact
from farthing.errors import DataError
from farthing.serving import arrow_body
from farthing.types import Array, Pipeline

JSON, NPY, ARROW = "application/json", "application/x-npy", "application/vnd.apache.arrow.stream"
MOST_DEPTH = 32
MOST_ITEMS = 4096  # of one request
MOST_AXES = 8
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


class BadBody(ValueError):
    """The body as a whole cannot be read."""


# what NumPy's reader raises on a header that is no header: it parses and tokenizes it as Python
UNREADABLE = (
    ValueError, EOFError, OSError, SyntaxError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError,
    tokenize.TokenError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    items: tuple[tuple[Any, ...] | str, ...]  # what `pipeline.encode` takes, or why this one is refused
    many: bool  # the client sent a list


def decoded(body: bytes) -> Any:
    """JSON without NaN, infinity, repeated keys or more than MOST_DEPTH levels. Raises BadBody."""
    if body.count(b"[") + body.count(b"{") > MOST_DEPTH:
        _check_depth(body)
    try:
        return _DECODER.decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise BadBody(f"not JSON: {error}") from error


def _check_depth(body: bytes) -> None:
    depth = 0
    for match in _BRACKETS.finditer(body):
        token = match.group()
        depth += (token in (b"[", b"{")) - (token in (b"]", b"}"))
        if depth > MOST_DEPTH:
            raise BadBody(f"JSON of more than {MOST_DEPTH} levels")


def asked(body: bytes, content_type: str, pipeline: Pipeline) -> Asked:
    """{"items": [...]} asks many, anything else one item, as `farthing predict` reads a line. Raises BadBody, MissingExtra."""
    if content_type == NPY:
        return _arrays({pipeline.inputs[0].name: _texts(_npy(body)) if pipeline.tokenizer else _npy(body)}, pipeline)
    if content_type == ARROW:
        return _arrays(_arrow(body), pipeline)
    value = decoded(body)
    if not (isinstance(value, dict) and value.keys() == {"items"}):
        return Asked(items=(_item(value, pipeline, 0),), many=False)
    values = value["items"]
    if not isinstance(values, list) or not values:
        raise BadBody('"items" must be a list of at least one item')
    if len(values) > MOST_ITEMS:
        raise BadBody(f"{len(values)} items; at most {MOST_ITEMS} in one request")
    return Asked(items=tuple(_item(one, pipeline, number) for number, one in enumerate(values)), many=True)


def answer(outputs: list[Array], pipeline: Pipeline) -> Any:
    """The first output; where there are several, all of them by name. `encoded` writes arrays as nested lists."""
    if len(outputs) == 1:
        return outputs[0]
    return {spec.name: value for spec, value in zip(pipeline.outputs, outputs, strict=True)}


def encoded(value: Any) -> bytes:
    """JSON. A float32 has the digits that give it back, no more: an embedding in half the bytes and a tenth of the time."""
    return orjson.dumps(value, default=_listed, option=orjson.OPT_SERIALIZE_NUMPY)


def _listed(value: Any) -> Any:
    """What orjson does not know: arrays that are not contiguous, or of rarer types; their numbers."""
    return value.tolist()


def npy(rows: list[list[Array]]) -> bytes:
    """The first output of all items, stacked."""
    buffer = io.BytesIO()
    np.save(buffer, np.stack([row[0] for row in rows]), allow_pickle=False)
    return buffer.getvalue()


def arrow(rows: list[list[Array]], pipeline: Pipeline) -> bytes:
    """A column of lists (flattened) for each output."""
    pa = arrow_body.pyarrow()
    columns = {spec.name: pa.array([row[i].ravel().tolist() for row in rows]) for i, spec in enumerate(pipeline.outputs)}
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _item(value: Any, pipeline: Pipeline, number: int) -> tuple[Any, ...] | str:
    try:
        return artifact.request(value, pipeline, f"item {number}")
    except DataError as error:
        return str(error)


def _arrays(columns: Mapping[str, Sequence[Any] | Array], pipeline: Pipeline) -> Asked:
    """The items of each input."""
    if pipeline.tokenizer is not None:
        if len(columns) != 1:
            raise BadBody(f"the model takes texts, in one column; there are {len(columns)}")
        (texts,) = columns.values()
        if not 0 < len(texts) <= MOST_ITEMS:
            raise BadBody(f"{len(texts)} items; 1 to {MOST_ITEMS} in one request")
        return Asked(items=tuple(_item(text, pipeline, i) for i, text in enumerate(texts)), many=True)
    names = [spec.name for spec in pipeline.inputs]
    if missing := [name for name in names if name not in columns]:
        raise BadBody(f"the body lacks {', '.join(missing)}: the model takes {', '.join(names)}")
    sizes = {len(columns[name]) for name in names}
    if len(sizes) != 1 or 0 in sizes:
        raise BadBody(f"the inputs hold {', '.join(map(str, sorted(sizes)))} items: the same number, at least one, is needed")
    if sizes.pop() > MOST_ITEMS:
        raise BadBody(f"at most {MOST_ITEMS} items in one request")
    rows = zip(*(columns[name] for name in names), strict=True)
    return Asked(items=tuple(_item({"inputs": list(row)}, pipeline, i) for i, row in enumerate(rows)), many=True)


def _npy(body: bytes) -> Array:
    try:
        _check_claimed_size(body)
        array = np.load(io.BytesIO(body), allow_pickle=False)
    except UNREADABLE as error:
        raise BadBody(f"not a NumPy array: {error}") from error
    if array.ndim == 0 or array.ndim > MOST_AXES:
        raise BadBody(f"an array of {array.ndim} axes; the first one counts the items")
    return np.asarray(array)


def _texts(array: Array) -> list[Any]:
    if array.ndim != 1 or array.dtype.kind != "U":
        raise BadBody(f"an array of {array.dtype}, {array.ndim} axes: the model takes texts (Unicode, one axis)")
    return list(array.tolist())


def _check_claimed_size(body: bytes) -> None:
    """np.load sets memory aside for the shape that the header claims, before it reads. Raises ValueError."""
    file = io.BytesIO(body)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"version {version} of the format is not read")
    shape, _, dtype = readers[version](file)
    if dtype.kind not in "biufU" or dtype.itemsize == 0:
        raise ValueError(f"{dtype} is not read: numbers, booleans and texts are")
    if math.prod(shape) * dtype.itemsize != len(body) - file.tell():
        raise ValueError(f"{len(body) - file.tell()} bytes do not fill the shape {shape} of {dtype}")


def _arrow(body: bytes) -> dict[str, list[Any]]:
    try:
        return arrow_body.columns(body, MOST_ITEMS)
    except ValueError as error:
        raise BadBody(f"not an Arrow stream: {error}") from error


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


_DECODER = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_unique)  # made once: it costs what a short body costs
