"""Ray Serve: what it is told, a replica by itself, and (where ray is installed) a cluster on this machine, over HTTP."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace

import numpy as np
import pytest

from farthing.artifact import predict
from farthing.engines.ray import Replica, _check_room, deployment_options
from farthing.errors import JobError
from farthing.sizing import Load, size
from farthing.testing import small_artifact
from farthing.testing.renderers import COST, DEPLOYMENT, FIGURES

ITEMS = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    made = small_artifact.write(tmp_path_factory.mktemp("ray"), batch_size=8, batch_delay_s=0.005, streams=2)
    return made.directory


@pytest.fixture(scope="module")
def replica(directory):
    return Replica(str(directory), False)


def told(replica, value, path="/v1/predict", method="POST"):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return asyncio.run(replica.respond(method, path, body))


def expected(directory, tmp_path):
    """What `farthing predict` answers to the same items."""
    lines = tmp_path / "items.jsonl"
    lines.write_text("".join(json.dumps(row.tolist()) + "\n" for row in ITEMS))
    return np.array([answer.tolist() for answer in predict(directory, lines)])


def test_ray_is_told_what_was_measured():
    options = deployment_options(DEPLOYMENT, size(DEPLOYMENT, FIGURES, COST, Load()), 20.0)
    assert options["ray_actor_options"] == {"num_cpus": 6, "memory": 600 * 2**20}
    assert options["max_ongoing_requests"] == 48
    assert options["graceful_shutdown_timeout_s"] == 20.0
    scaling = options["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (2, 5)
    assert scaling["target_ongoing_requests"] == pytest.approx(19.4)
    gpu = replace(DEPLOYMENT, build=replace(DEPLOYMENT.build, device_kind="cuda"))
    assert deployment_options(gpu, size(gpu, FIGURES, COST, Load()), 20.0)["ray_actor_options"]["num_gpus"] == 1


def test_a_cluster_without_room_is_told_at_once():
    options = deployment_options(DEPLOYMENT, size(DEPLOYMENT, FIGURES, COST, Load()), 20.0)
    _check_room(options, {"CPU": 12.0, "memory": 1e12})
    with pytest.raises(JobError, match="need 12 CPU, the cluster has 11"):
        _check_room(options, {"CPU": 11.0, "memory": 1e12})
    with pytest.raises(JobError, match="memory"):
        _check_room(options, {"CPU": 12.0, "memory": 1e6})


def test_a_replica_answers_as_predict_does(replica, directory, tmp_path):
    status, answered = told(replica, {"items": ITEMS.tolist()})
    assert status == 200
    np.testing.assert_allclose([each["answer"] for each in answered["answers"]], expected(directory, tmp_path), rtol=1e-5)
    status, answered = told(replica, ITEMS[0].tolist())
    assert status == 200
    np.testing.assert_allclose(answered["answer"], ITEMS[0] @ small_artifact.WEIGHTS, rtol=1e-5)


def test_a_bad_item_fails_alone(replica):
    status, answered = told(replica, {"items": [ITEMS[0].tolist(), [1.0, 2.0], [1.0, 2.0, 3.0, None], ITEMS[1].tolist()]})
    assert status == 200
    assert [each.get("status", 200) for each in answered["answers"]] == [200, 422, 422, 200]
    assert "the model takes 4" in answered["answers"][1]["error"]


def test_an_item_that_makes_the_model_fail_is_found_by_halving(replica, monkeypatch):
    whole = replica._rows

    def fails_on_zeros(batch):
        if any(not waiting.encoded[0].any() for waiting in batch):
            raise ValueError("zeros")
        return whole(batch)

    monkeypatch.setattr(replica, "_rows", fails_on_zeros)
    items = [*ITEMS[:5].tolist(), [0.0] * 4, *ITEMS[5:12].tolist()]
    _, answered = told(replica, {"items": items})
    assert [each.get("status", 200) for each in answered["answers"]] == [200] * 5 + [500] + [200] * 7
    assert "zeros" in answered["answers"][5]["error"]
    replica.check_health()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/readyz", b"", 200),
        ("GET", "/nothing", b"", 404),
        ("GET", "/v1/predict", b"", 404),
        ("POST", "/v1/predict", b"{", 400),
        ("POST", "/v1/predict", b"\xff", 400),
        ("POST", "/v1/predict", b'{"other": 1}', 422),
    ],
)
def test_other_requests(replica, method, path, body, status):
    assert told(replica, body, path, method)[0] == status


def asked(port, path, value=None):
    data = None if value is None else json.dumps(value).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=30) as response:
        return json.loads(response.read())


def test_the_same_artifact_on_ray_serve_answers_alike(tmp_path):
    pytest.importorskip("ray")
    import socket

    directory = small_artifact.write(tmp_path / "made", batch_size=8, batch_delay_s=0.005, replicas=1).directory
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-m", "farthing.cli", "serve", str(directory), "--engine", "ray", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as server:
        said = []
        for line in server.stdout:
            said.append(line)
            if line.startswith("serving"):
                break
        assert server.poll() is None, "".join(said)
        assert asked(port, "/readyz") == {"ready": True}
        started = time.monotonic()
        answers = asked(port, "/v1/predict", {"items": ITEMS.tolist()})["answers"]
        assert time.monotonic() - started < 30
        server.send_signal(signal.SIGTERM)
        rest = server.stdout.read()
        assert server.wait(60) == 0, rest
    np.testing.assert_allclose([each["answer"] for each in answers], expected(directory, tmp_path), rtol=1e-5)


@pytest.mark.parametrize(
    "options, why",
    [
        (["--engine", "ray", "--replicas", "3", "--keys", "x"], "replicas, keys: without effect with --engine ray"),
        (["--peak-per-s", "100"], "without effect on one machine"),
        (["--engine", "rey"], "Did you mean 'ray'?"),
    ],
)
def test_what_has_no_effect_is_refused(options, why, directory):
    command = [sys.executable, "-m", "farthing.cli", "serve", str(directory), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and why in done.stderr
