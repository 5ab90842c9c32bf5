"""Whatever is sent to whatever route: no status that is not documented, no crash, and the next request is answered."""

import gzip
import io
import json
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import Server

NPY, ARROW = "application/x-npy", "application/vnd.apache.arrow.stream"
DOCUMENTED = {200, 400, 401, 404, 405, 413, 422, 500, 503, 504}
IDS = [1, 2, 3, 4]
FEW = settings(
    max_examples=300,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FEWER = settings(FEW, max_examples=40)


def survives(server: Server, method: str, path: str, body: bytes | None, **headers: str) -> tuple[int, Any]:
    status, told, _ = server.ask(method, path, body, **headers)
    assert status in DOCUMENTED, (method, path, body, headers, told)
    if status == 500:
        assert told["error"].startswith("the model failed on this item"), told
    elif status >= 400 and method != "HEAD":
        assert told["error"]
    return status, told


@pytest.fixture(autouse=True, scope="module")
def still_there(server: Server) -> Any:
    """After all of this the same processes answer as before."""
    server.until(lambda: len(server.replicas()) == 2)
    before = server.replicas()
    yield
    assert server.process.poll() is None
    assert server.replicas() == before
    assert server.predict(IDS)[0] == 200
    assert server.ask("GET", "/healthz")[0] == 200


def test_every_route_of_the_document(server: Server) -> None:
    document = server.ask("GET", "/openapi.json")[1]
    schema = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {operation.path for operation in operations} == set(document["paths"])
    for operation in operations:

        @FEWER
        @given(case=operation.as_strategy())
        def check(case: schemathesis.Case) -> None:
            answer = case.call(base_url=f"http://127.0.0.1:{server.port}", timeout=30)
            assert answer.status_code in DOCUMENTED, (case.as_curl_command(), answer.text)
            if case.path == "/v1/predict":
                assert str(answer.status_code) in document["paths"]["/v1/predict"]["post"]["responses"], answer.text

        check()


KEYS = st.sampled_from(["items", "inputs", "text", "a"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("ids"),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@FEW
@given(value=json_values)
def test_any_json(server: Server, value: Any) -> None:
    survives(server, "POST", "/v1/predict", json.dumps(value).encode())


sizes = st.integers(-2, 6) | st.sampled_from([2**31, 2**62, 2**63, 2**64, 10**30]) | st.booleans()
tensors = st.fixed_dictionaries(
    {
        "name": st.just("ids") | json_values,
        "shape": st.lists(sizes, max_size=9) | json_values,
        "datatype": st.sampled_from(["INT64", "INT8", "UINT64", "FP32", "FP16", "BOOL", "BYTES", "FP128"]) | json_values,
        "data": st.lists(st.integers(-(2**70), 2**70) | st.floats() | json_values, max_size=9) | json_values,
    }
)


@FEW
@given(inputs=st.lists(tensors, max_size=3) | json_values, more=json_values)
def test_any_tensor_of_the_open_inference_protocol(server: Server, inputs: Any, more: Any) -> None:
    body = {"inputs": inputs, "id": more, "outputs": more, "parameters": more}
    survives(server, "POST", "/v2/models/lookup/infer", json.dumps(body).encode())


@FEW
@given(
    shape=st.lists(sizes, max_size=3),
    datatype=st.sampled_from(["INT64", "FP32", "BOOL", "BYTES"]),
    raw=st.binary(max_size=40),
    size=st.integers(-1, 50) | st.sampled_from([2**63, 10**30]),
    length=st.integers(-1, 300).map(str) | st.just("many"),
    honest=st.booleans(),
)
def test_any_binary_tensor(server: Server, shape: Any, datatype: str, raw: bytes, size: int, length: str, honest: bool) -> None:
    size = len(raw) if honest else size
    tensor = {"name": "ids", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor]}).encode()
    length = str(len(head)) if honest else length
    survives(server, "POST", "/v2/models/lookup/infer", head + raw, inference_header_content_length=length)


@FEW
@given(
    body=st.binary(max_size=200),
    kind=st.sampled_from(["application/json", NPY, ARROW, "text/plain", "", "a/b; c=\xff"]),
    encoding=st.sampled_from(["identity", "gzip", "deflate", "br", "gzip, gzip"]),
    packed=st.booleans(),
)
def test_any_bytes(server: Server, body: bytes, kind: str, encoding: str, packed: bool) -> None:
    body = gzip.compress(body) if packed else body
    survives(server, "POST", "/v1/predict", body, content_type=kind, content_encoding=encoding)


@FEW
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]),
    path=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=20),
    prefix=st.sampled_from(["/", "/v1/", "/v1/predict", "/v2/models/", "/v2/models/lookup/versions/", "/metrics"]),
    deadline=st.floats().map(str) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=6),
    priority=st.integers().map(str) | st.floats().map(str),
)
def test_any_path_and_header(server: Server, method: str, path: str, prefix: str, deadline: str, priority: str) -> None:
    body = json.dumps(IDS).encode() if method in ("POST", "PUT", "PATCH") else None
    survives(server, method, prefix + path, body, x_deadline_ms=deadline, x_priority=priority)


def npy_body(array: np.ndarray) -> bytes:
    body = io.BytesIO()
    np.save(body, array)
    return body.getvalue()


def arrow_body(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


@FEW
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.integers(0, 400), which=st.sampled_from([NPY, ARROW]))
def test_bodies_with_a_wrong_byte(server: Server, place: int, byte: int, cut: int, which: str) -> None:
    whole = npy_body(np.array([IDS] * 3)) if which == NPY else arrow_body(pa.table({"ids": [IDS] * 3}))
    body = bytearray(whole)
    body[place % len(body)] = byte
    survives(server, "POST", "/v1/predict", bytes(body[: len(body) - cut % 40]), content_type=which)


def claimed(shape: str) -> bytes:
    text = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + b"\0" * 32


BOMBS = {
    "an array that claims more than it holds": (NPY, claimed("(1000000000000,)"), "do not fill the shape"),
    "an array of a size that overflows": (NPY, claimed("(4294967296, 4294967296, 4)"), "do not fill the shape"),
    "a pickle": (NPY, npy_body(np.array([{"a": 1}], dtype=object)), "not a NumPy array"),
    "no numbers": (NPY, npy_body(np.array([[1.0, np.nan, np.inf, 2.0]])), "item 0"),
    "compressed columns": (ARROW, arrow_body(pa.table({"ids": [[1] * 10_000] * 100}), compression="zstd"), "compressed Arrow"),
    "a dictionary": (ARROW, arrow_body(pa.table({"ids": pa.array(["a" * 1000] * 9).dictionary_encode()})), "dictionar"),
    "views": (ARROW, arrow_body(pa.table({"ids": pa.array(["a" * 100] * 9, pa.string_view())})), "string_view"),
    "missing values": (ARROW, arrow_body(pa.table({"ids": [[1, None, 3, 4]]})), "item 0"),
    "too many rows": (ARROW, arrow_body(pa.table({"ids": pa.array([IDS] * 5000)})), "5000 items; at most 4096"),
    "a nested struct": (ARROW, arrow_body(pa.table({"ids": [{"a": 1}]})), "struct<a: int64>"),
    "too many items": ("", json.dumps({"items": [IDS] * 5000}).encode(), "5000 items; at most 4096"),
    "deep JSON": ("", b'{"items": ' * 100_000, "more than 32 levels"),
    "deep JSON within a text that closes itself": ("", b'["]",' * 50_000, "more than 32 levels"),
    "a number too long": ("", b"[" + b"9" * 100_000 + b", 1, 2, 3]", "not JSON"),
    "null": ("", b"[null, 1, 2, 3]", "item 0"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_larger_or_other_than_it_looks_is_refused_at_once(server: Server, name: str) -> None:
    kind, body, message = BOMBS[name]
    status, told = survives(server, "POST", "/v1/predict", body, content_type=kind)
    told = told["answers"][0] if status == 200 else told
    assert (status, told["status"]) == (200, 422) if "answers" in told else status in (400, 422)
    assert message in told["error"], told


def test_a_bomb_of_bombs(server: Server) -> None:
    """Twice compressed, and a stream with another behind it."""
    bomb = gzip.compress(gzip.compress(b" " * 50_000_000))
    assert survives(server, "POST", "/v1/predict", bomb, content_encoding="gzip")[0] in (400, 413)
    two = gzip.compress(json.dumps(IDS).encode()) + gzip.compress(b" " * 50_000_000)
    assert survives(server, "POST", "/v1/predict", two, content_encoding="gzip")[0] in (200, 400, 413)
