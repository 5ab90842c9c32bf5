"""A real server of a real artifact, asked over HTTP, hurt, and told to stop."""

import gzip
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from farthing.artifact import Artifact
from farthing.serving.options import FRONTS
from farthing.testing.artifacts import expected

from .conftest import Server, serving

IDS = np.random.default_rng(0).integers(0, 8, (20, 4))
POISON = [0, 1, 2, 99]


WAYS = {front: ("--replicas", "2", "--http", front) for front in FRONTS} | {"inline": ("--inline",)}


@pytest.fixture(scope="module", params=WAYS)
def server(artifact: Artifact, request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(artifact.directory, *WAYS[request.param]) as made:
        yield made


def test_one_item_and_many(server: Server) -> None:
    status, told = server.predict(IDS[0].tolist())
    assert status == 200
    np.testing.assert_allclose(told["answer"], expected(IDS[:1])[0], rtol=1e-5)
    status, told = server.predict({"items": IDS.tolist()})
    assert status == 200
    np.testing.assert_allclose([one["answer"] for one in told["answers"]], expected(IDS), rtol=1e-5)


def test_a_bad_item_fails_alone(server: Server) -> None:
    status, told = server.predict({"items": [IDS[0].tolist(), [1, 2], IDS[1].tolist()]})
    assert status == 200
    assert [("answer" in one) for one in told["answers"]] == [True, False, True]
    assert told["answers"][1]["status"] == 422
    assert "input 'ids' has shape 2, the model takes 4" in told["answers"][1]["error"]


def test_an_item_that_breaks_its_batch_is_found_and_not_tried_again(server: Server) -> None:
    status, told = server.predict({"items": [*IDS[:6].tolist(), POISON, IDS[6].tolist()]})
    assert status == 200
    assert [one.get("status") for one in told["answers"]] == [None] * 6 + [500, None]
    np.testing.assert_allclose([one["answer"] for one in told["answers"][:6]], expected(IDS[:6]), rtol=1e-5)
    status, told = server.predict(POISON)
    assert status == 422
    assert "made the model fail before" in told["error"]


def test_numpy_and_arrow_bodies(server: Server) -> None:
    body = io.BytesIO()
    np.save(body, IDS)
    status, told, headers = server.ask("POST", "/v1/predict", body.getvalue(), content_type="application/x-npy")
    assert (status, headers["content-type"]) == (200, "application/x-npy")
    np.testing.assert_allclose(np.load(io.BytesIO(told)), expected(IDS), rtol=1e-5)
    table, sink = pa.table({"ids": IDS.tolist()}), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    kind = "application/vnd.apache.arrow.stream"
    status, told, _ = server.ask("POST", "/v1/predict", sink.getvalue().to_pybytes(), content_type=kind)
    assert status == 200
    answers = pa.ipc.open_stream(told).read_all()["mean"].to_pylist()
    np.testing.assert_allclose(answers, expected(IDS), rtol=1e-5)


def test_the_open_inference_protocol(server: Server) -> None:
    assert server.ask("GET", "/v2/health/ready")[0] == 200
    status, told, _ = server.ask("GET", "/v2/models/lookup")
    assert told["inputs"] == [{"name": "ids", "datatype": "INT64", "shape": [-1, 4]}]
    tensor = {"name": "ids", "shape": [2, 4], "datatype": "INT64", "data": IDS[:2].ravel().tolist()}
    status, told, _ = server.ask("POST", "/v2/models/lookup/infer", {"id": "seven", "inputs": [tensor]})
    assert (status, told["id"]) == (200, "seven")
    (output,) = told["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("mean", "FP32", [2, 5])
    np.testing.assert_allclose(np.reshape(output["data"], (2, 5)), expected(IDS[:2]), rtol=1e-5)
    status, told, _ = server.ask("POST", "/v2/models/lookup/infer", {"inputs": [{**tensor, "shape": [3, 4]}]})
    assert (status, told["error"]) == (400, "input 'ids': 8 values do not fill the shape [3, 4]")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "not JSON"),
        (b"[NaN, 1, 2, 3]", "NaN is no JSON number"),
        (b"[" * 5000, "more than 32 levels"),
        (b'{"items": []}', "at least one item"),
        (b'{"items": 3, "items": 4}', "a key stands twice"),
        (b"null", "takes int64"),
        (b"[1e999, 1, 2, 3]", "item 0"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(server: Server, body: bytes, message: str) -> None:
    status, told = server.predict(body)
    assert status in (400, 422)
    assert message in told["error"]


def test_compressed_bodies_are_read_and_bombs_are_not(server: Server) -> None:
    packed = gzip.compress(json.dumps(IDS[0].tolist()).encode())
    assert server.predict(packed, content_encoding="gzip")[0] == 200
    status, told = server.predict(gzip.compress(b" " * 40_000_000), content_encoding="gzip")
    assert status == 413
    assert "unpacked too" in told["error"]
    assert server.predict(b"[1]", content_encoding="br")[0] == 400


def test_deadlines(server: Server) -> None:
    status, told = server.predict(IDS[0].tolist(), x_deadline_ms="0")
    assert status == 504
    assert server.predict(IDS[0].tolist(), x_deadline_ms="20000")[0] == 200
    status, told = server.predict(IDS[0].tolist(), x_deadline_ms="nan")
    assert (status, told["error"]) == (400, "x-deadline-ms: nan is not a finite number")


def test_what_is_told(server: Server) -> None:
    server.predict(IDS[0].tolist())
    receipt = server.ask("GET", "/v1/receipt")[1]
    assert receipt["num_answered"] > 0
    assert receipt["actual_usd_per_million"] > 0
    (model,) = server.ask("GET", "/v1/models")[1]["models"]
    assert model["name"] == "lookup"
    num_replicas = len(server.replicas()) or 1
    server.until(lambda: f"farthing_replicas_ready {num_replicas}.0".encode() in server.ask("GET", "/metrics")[1])
    page = server.ask("GET", "/metrics")[1].decode()
    assert 'farthing_responses_total{route="/v1/predict",status="200"}' in page
    document = server.ask("GET", "/openapi.json")[1]
    assert document["openapi"].startswith("3.1")
    for path in document["paths"]:
        method = "POST" if path == "/v1/predict" else "GET"
        assert server.ask(method, path, IDS[0].tolist() if method == "POST" else None)[0] == 200, path
    assert server.ask("GET", "/v1/nothing")[0] == 404
    assert server.ask("DELETE", "/v1/predict")[0] == 405


def test_no_torch_in_any_process(server: Server) -> None:
    for pid in (server.process.pid, *server.replicas()):
        assert b"libtorch" not in Path(f"/proc/{pid}/maps").read_bytes()


def test_only_the_dead_replica_is_started_again(server: Server) -> None:
    if "--inline" in server.process.args:
        assert server.replicas() == []
        return
    first, second = server.replicas()
    os.kill(first, signal.SIGKILL)
    statuses = {server.predict(ids.tolist())[0] for ids in IDS}
    assert statuses == {200}, "the other one serves meanwhile"
    server.until(lambda: len(server.replicas()) == 2 and first not in server.replicas())
    server.until(lambda: b"farthing_replicas_ready 2.0" in server.ask("GET", "/metrics")[1])
    assert second in server.replicas()


def test_a_client_that_hangs_up_frees_its_place(server: Server) -> None:
    before = server.ask("GET", "/metrics")[1].decode()
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        body = json.dumps({"items": IDS.tolist() * 100}).encode()
        raw.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    def told(page: str) -> float:
        return next(float(line.split()[1]) for line in page.splitlines() if line.startswith("farthing_disconnects_total"))

    server.until(lambda: told(server.ask("GET", "/metrics")[1].decode()) > told(before))
    server.until(lambda: b"farthing_waiting 0.0" in server.ask("GET", "/metrics")[1])


@pytest.mark.parametrize("http", FRONTS)
def test_sigterm_drains(artifact: Artifact, http: str) -> None:
    with serving(artifact.directory, "--http", http) as server:
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(server.predict({"items": IDS.tolist() * 20})[0])) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        said = server.stop()
        for thread in threads:
            thread.join()
    assert set(answers) <= {200, 503}
    assert 200 in answers
    assert server.process.returncode == 0
    assert "receipt: $" in said


def test_keys(artifact: Artifact, tmp_path: Path) -> None:
    made = subprocess.run([sys.executable, "-m", "farthing.cli", "key", "shop"], capture_output=True, text=True, check=True)
    secret = made.stderr.split()[-1]
    assert made.stdout.split() == ["shop", hashlib.sha256(secret.encode()).hexdigest()]
    (tmp_path / "keys").write_text(made.stdout)
    with serving(artifact.directory, "--keys", str(tmp_path / "keys")) as server:
        assert server.predict(IDS[0].tolist())[0] == 401
        assert server.predict(IDS[0].tolist(), authorization="Bearer wrong")[0] == 401
        assert server.predict(IDS[0].tolist(), authorization=f"Bearer {secret}")[0] == 200
        assert server.predict(IDS[0].tolist(), x_api_key=secret)[0] == 200
        assert server.ask("GET", "/readyz")[0] == 200
        assert server.ask("GET", "/metrics")[0] == 401


def refused(*arguments: str) -> str:
    ended = subprocess.run([sys.executable, "-m", "farthing.cli", "serve", *arguments], capture_output=True, text=True)
    assert ended.returncode == 2
    return ended.stderr


def test_what_has_no_effect_or_makes_no_sense_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    folder = str(artifact.directory)
    assert "router = 'nearest' is not one of" in refused(folder, "--router", "nearest")
    assert "http = 'flask' is not one of uvicorn, granian" in refused(folder, "--http", "flask")
    assert "replicas = 0" in refused(folder, "--replicas", "0")
    assert "go together" in refused(folder, "--certificate", "a.pem")
    (tmp_path / "keys").write_text("shop abc\n")
    assert "line 1: expected a name" in refused(folder, "--keys", str(tmp_path / "keys"))
    changed = tmp_path / "changed"
    subprocess.run(["cp", "-r", folder, str(changed)], check=True)
    with (changed / "model.onnx").open("r+b") as file:
        file.write(b"x")
    assert "was changed" in refused(str(changed))


def test_a_port_that_is_taken(artifact: Artifact) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = subprocess.run(
            [sys.executable, "-m", "farthing.cli", "serve", str(artifact.directory), "--port", str(taken.getsockname()[1])],
            capture_output=True,
            text=True,
        )
    assert ended.returncode == 2
    assert "choose another host or port" in ended.stderr


@pytest.mark.parametrize("options", [("--replicas", "2"), ("--max-rss-gib", "1")], ids=["replicas", "memory"])
def test_what_has_no_effect_inline_is_refused(artifact: Artifact, options: tuple[str, str]) -> None:
    command = [sys.executable, "-m", "farthing.cli", "serve", str(artifact.directory), "--inline", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "without effect where inline puts the model into this process" in " ".join(done.stderr.split())


def test_a_forecast_of_an_inline_service_counts_the_model_once(artifact: Artifact) -> None:
    with serving(artifact.directory, "--inline") as server:
        assert server.ask("GET", "/v1/learned")[1] == {}
        for ids in IDS:
            assert server.predict(ids.tolist())[0] == 200
        told = server.ask("GET", "/v1/learned")[1]
        assert told["front_s"] == told["around_s"] < 0.05
        assert told["streams"] == 1
