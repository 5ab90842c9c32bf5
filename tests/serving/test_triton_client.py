"""NVIDIA's client for Triton, unchanged, against our server: as JSON and as bytes; and bytes that are not what they say."""

import numpy as np
import pytest

from farthing.serving.binary import joined, split, texts
from farthing.serving.wire import BadBody
from farthing.testing.artifacts import expected

from .conftest import Server

IDS = np.random.default_rng(3).integers(0, 8, (5, 4))


@pytest.mark.filterwarnings("ignore")  # of gevent's, when it is imported
@pytest.mark.parametrize("as_bytes", [True, False], ids=["bytes", "json"])
def test_a_triton_client_is_answered(server: Server, as_bytes: bool) -> None:
    http = pytest.importorskip("tritonclient.http")
    client = http.InferenceServerClient(f"127.0.0.1:{server.port}")
    try:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("lookup")
        (described,) = client.get_model_metadata("lookup")["inputs"]
        assert (described["name"], described["datatype"]) == ("ids", "INT64")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        asked = http.InferInput("ids", list(IDS.shape), "INT64")
        asked.set_data_from_numpy(IDS, binary_data=as_bytes)
        outputs = [http.InferRequestedOutput("mean", binary_data=as_bytes)]
        for given in (outputs, None):
            answered = client.infer("lookup", [asked], outputs=given, request_id="seven")
            np.testing.assert_allclose(answered.as_numpy("mean"), expected(IDS), rtol=1e-5)
            assert answered.get_response()["id"] == "seven"
    finally:
        client.close()


HEAD = b'{"inputs": [{"name": "ids", "parameters": {"binary_data_size": 3}}]}'


@pytest.mark.parametrize(
    "body, length, why",
    [
        (HEAD + b"abc", b"900", "is no length within"),
        (HEAD + b"abc", b"-1", "is no length within"),
        (HEAD + b"ab", str(len(HEAD)).encode(), r"binary_data_size 3, and 2 bytes are left"),
        (HEAD + b"abcd", str(len(HEAD)).encode(), "1 bytes belong to no input"),
        (HEAD.replace(b"3", b"true") + b"a", str(len(HEAD) + 3).encode(), "binary_data_size True"),
    ],
)
def test_bytes_that_are_not_what_they_say(body: bytes, length: bytes, why: str) -> None:
    with pytest.raises(BadBody, match=why):
        split(body, {b"inference-header-content-length": length})


def test_texts_that_are_not_what_they_say() -> None:
    assert texts(b"\x02\0\0\0hi\0\0\0\0", "text") == ["hi", ""]
    for raw in (b"\x03\0\0\0hi", b"\x01\0", b"\x01\0\0\0\xff"):
        with pytest.raises(BadBody, match="text 0"):
            texts(raw, "text")


def test_bytes_of_an_answer_follow_its_json() -> None:
    body, headers = joined({"outputs": [{"name": "mean", "data": [1.0]}]}, {"mean": np.array([1.0], np.float32)})
    head = int(headers["inference-header-content-length"])
    assert body[head:] == np.array([1.0], "<f4").tobytes() and b'"binary_data_size":4' in body[:head]


def test_a_shape_that_bytes_do_not_fill_is_told(server: Server) -> None:
    head = b'{"inputs": [{"name": "ids", "shape": [1, 4], "datatype": "INT64", "parameters": {"binary_data_size": 8}}]}'
    status, told, _ = server.ask(
        "POST", "/v2/models/lookup/infer", head + bytes(8), inference_header_content_length=str(len(head))
    )
    assert status == 400 and "8 bytes do not fill the shape [1, 4]" in told["error"]
