"""The Open Inference Protocol v2 (KServe, Triton): its JSON, read and written."""

import math
from typing import Any

import numpy as np

from farthing import artifact
from farthing.errors import DataError
from farthing.serving import binary
from farthing.serving.wire import MOST_AXES, MOST_ITEMS, BadBody
from farthing.types import Array, Pipeline, TensorSpec

# datatype of the protocol -> NumPy
TYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64", "INT8": "int8",
    "INT16": "int16", "INT32": "int32", "INT64": "int64", "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
NAMES = {dtype: name for name, dtype in TYPES.items()}
TEXT = "text"  # the one input of a model that takes texts


def metadata(name: str, version: str, platform: str, pipeline: Pipeline) -> dict[str, Any]:
    inputs = (
        [{"name": TEXT, "datatype": "BYTES", "shape": [-1]}]
        if pipeline.tokenizer is not None
        else [_described(spec) for spec in pipeline.inputs]
    )
    outputs = [_described(spec) for spec in pipeline.outputs]
    return {"name": name, "versions": [version], "platform": platform, "inputs": inputs, "outputs": outputs}


def requests(body: Any, pipeline: Pipeline) -> list[tuple[Any, ...]]:
    """One request for each row. Raises BadBody: the protocol has no answer for a part of a body."""
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list):
        raise BadBody('expected {"inputs": [{"name": ..., "shape": ..., "datatype": ..., "data": ...}]}')
    tensors = dict(_tensor(one) for one in body["inputs"])
    names = [TEXT] if pipeline.tokenizer is not None else [spec.name for spec in pipeline.inputs]
    if sorted(tensors) != sorted(names):
        raise BadBody(f"the model takes the inputs {', '.join(names)}, the body holds {', '.join(tensors) or 'none'}")
    columns = [tensors[name] for name in names]
    sizes = {len(column) for column in columns}
    if len(sizes) != 1 or 0 in sizes or max(sizes) > MOST_ITEMS:
        raise BadBody(f"each input needs the same number of rows, 1 to {MOST_ITEMS}; there are {sorted(sizes)}")
    try:
        return [
            artifact.request(row[0] if pipeline.tokenizer is not None else {"inputs": list(row)}, pipeline, f"row {number}")
            for number, row in enumerate(zip(*columns, strict=True))
        ]
    except DataError as error:
        raise BadBody(str(error)) from error


def response(
    name: str, version: str | None, request_id: str | None, rows: list[list[Array]], pipeline: Pipeline
) -> dict[str, Any]:
    outputs = []
    for i, spec in enumerate(pipeline.outputs):
        values = np.stack([row[i] for row in rows])
        outputs.append(
            {
                "name": spec.name,
                "datatype": NAMES.get(str(values.dtype), "FP32"),
                "shape": list(values.shape),
                "data": values.ravel().tolist(),
            }
        )
    told = {"id": request_id, "model_name": name, "model_version": version, "outputs": outputs}
    return {key: value for key, value in told.items() if value is not None}


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "datatype": NAMES.get(spec.dtype, "FP32"),
        "shape": [size if isinstance(size, int) else -1 for size in spec.shape],
    }


def _tensor(one: Any) -> tuple[str, Any]:
    """(name, an array whose first axis counts rows, or a list of texts)."""
    if not isinstance(one, dict) or not {"name", "shape", "datatype"} <= one.keys() or ("data" in one) == ("raw" in one):
        raise BadBody("each input needs name, shape, datatype, and either data or binary_data_size")
    name, shape, datatype = one["name"], one["shape"], one["datatype"]
    if not isinstance(name, str):
        raise BadBody(f"an input's name must be a text, not {name!r}")
    _check(name, shape, datatype)
    if "raw" in one and datatype != "BYTES":
        return name, binary.array(one["raw"], TYPES[datatype], shape, name)
    data = _flat(one["data"]) if "data" in one else binary.texts(one["raw"], name)
    if math.prod(shape) != len(data):
        raise BadBody(f"input {name!r}: {len(data)} values do not fill the shape {shape}")
    if datatype == "BYTES":
        return name, data
    try:
        return name, np.array(data, dtype=TYPES[datatype]).reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadBody(f"input {name!r}: {error}") from error


def _check(name: str, shape: Any, datatype: Any) -> None:
    if not (isinstance(shape, list) and 0 < len(shape) <= MOST_AXES and all(type(size) is int and size >= 0 for size in shape)):
        raise BadBody(f"input {name!r}: shape {shape!r} is not a list of 1 to {MOST_AXES} sizes")
    if not isinstance(datatype, str) or (datatype != "BYTES" and datatype not in TYPES):
        raise BadBody(f"input {name!r}: datatype {datatype!r} is not one of {', '.join(TYPES)}, BYTES")


def _flat(data: Any) -> list[Any]:
    """The protocol allows nested data in row-major order."""
    if not isinstance(data, list):
        raise BadBody("data must be a list")
    flat: list[Any] = data
    while flat and isinstance(flat[0], list):
        if not all(isinstance(part, list) for part in flat):
            raise BadBody("data is nested unevenly")
        flat = [value for part in flat for value in part]
    return flat
