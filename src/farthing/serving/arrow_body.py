"""Arrow streams from strangers: read only what cannot be larger or other than it looks."""

import struct
from typing import Any

from farthing.errors import MissingExtra

COMPRESSION = 3  # field of RecordBatch in Message.fbs


def columns(body: bytes, most_rows: int) -> dict[str, list[Any]]:
    """Every column of the stream, its rows as lists. Raises ValueError, also for what could grow far beyond its bytes.

    That is: compressed buffers, dictionaries, views and run-ends, whose parts may be repeated without end, and nested columns
    other than lists. Offsets are checked before anything is read by them.
    """
    pa = pyarrow()
    try:
        _refuse_packed(pa, body)
        table = pa.ipc.open_stream(body).read_all()
        if table.num_rows > most_rows:
            raise ValueError(f"{table.num_rows} items; at most {most_rows} in one request")
        for field in table.schema:
            _check_type(pa, field.name, field.type)
        table.validate(full=True)
        return {name: table[name].to_pylist() for name in table.column_names}
    except (pa.ArrowException, OSError, struct.error) as error:
        raise ValueError(str(error)) from error


def pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise MissingExtra("pyarrow", "arrow") from error
    return pyarrow


def _refuse_packed(pa: Any, body: bytes) -> None:
    reader = pa.ipc.MessageReader.open_stream(body)
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        if message.type == "dictionary":
            raise ValueError("dictionaries are not read: send plain columns")
        if message.type == "record batch" and _is_compressed(message.metadata.to_pybytes()):
            raise ValueError("compressed Arrow buffers are not read: compress the whole body (Content-Encoding: gzip)")


def _is_compressed(metadata: bytes) -> bool:
    """Whether the RecordBatch of this Message names a compression (flatbuffers: a table begins with the way to its vtable)."""
    message: int = struct.unpack_from("<I", metadata)[0]
    header = _field(metadata, message, 2)
    batch: int = header + struct.unpack_from("<I", metadata, header)[0]
    return _field(metadata, batch, COMPRESSION) != batch


def _field(metadata: bytes, table: int, number: int) -> int:
    """Where this field of the table lies; the table itself: it has none."""
    vtable: int = table - struct.unpack_from("<i", metadata, table)[0]
    size: int = struct.unpack_from("<H", metadata, vtable)[0]
    place = 4 + 2 * number
    offset: int = struct.unpack_from("<H", metadata, vtable + place)[0] if place < size else 0
    return table + offset


def _check_type(pa: Any, name: str, kind: Any) -> None:
    types = pa.types
    while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind = kind.value_type
    plain = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
    if not any(is_one(kind) for is_one in plain):
        raise ValueError(f"column {name!r} is of type {kind}: numbers, booleans, texts and lists of them are read")
