"""What is sent and when: arrivals of the asked rate and shape, bodies, and mistakes told before anything is driven."""

import json

import numpy as np
import pytest

from farthing.bench import Load, bodies, mean_rate
from farthing.bench.load import NUM_GENERATED, endpoint, payloads, send_times
from farthing.errors import DataError, EndpointError, JobError


def load(**changes):
    return Load(**{"url": "http://127.0.0.1:8000/v1/predict", "bodies": (b"1",), "rate_per_s": 50.0} | changes)


def judged_gaps(**changes):
    asked = load(rate_per_s=500.0, duration_s=100.0, **changes)
    times_s = send_times(asked)
    judged_s = times_s[times_s >= asked.warmup_s]
    assert len(judged_s) == 50_000 and judged_s[-1] <= asked.warmup_s + asked.duration_s * 1.001
    assert np.all(np.diff(times_s) >= 0) and len(times_s) == 50_500
    return np.diff(judged_s)


@pytest.mark.parametrize(
    ("changes", "cv"),
    [
        ({}, 1.0),
        ({"arrivals": "constant"}, 0.0),
        ({"arrivals": "gamma", "cv": 2.0}, 2.0),
        ({"arrivals": "gamma", "cv": 0.5}, 0.5),
    ],
)
def test_gaps_have_the_asked_spread(changes, cv):
    gaps_s = judged_gaps(**changes)
    assert gaps_s.mean() == pytest.approx(1 / 500, rel=0.01)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(cv, rel=0.05, abs=1e-6)


def test_poisson_gaps_are_exponential():
    gaps_s = judged_gaps()
    assert np.mean(gaps_s > 2 / 500) == pytest.approx(np.exp(-2), abs=0.01)


def test_a_trace_keeps_its_gaps_at_any_rate(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("at\n0\n1\n2\n10\n")
    gaps_s = judged_gaps(arrivals="trace", trace=path)
    assert gaps_s.max() / gaps_s.min() == pytest.approx(8)
    assert mean_rate(None, path) == pytest.approx(0.3)
    assert mean_rate(7.0, path) == 7.0


def test_two_seeds_are_two_streams_and_one_seed_is_one():
    assert np.array_equal(send_times(load(seed=1)), send_times(load(seed=1)))
    assert not np.array_equal(send_times(load(seed=1)), send_times(load(seed=2)))


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"url": "127.0.0.1:8000"}, EndpointError, "expected http://HOST:PORT/PATH"),
        ({"url": "http://127.0.0.1:port/"}, EndpointError, "is not a URL"),
        ({"url": "http:///v1"}, EndpointError, "expected http://"),
        ({"url": "ftp://host/v1"}, EndpointError, "ftp://host/v1"),
        ({"url": "http://host/a b"}, EndpointError, "a b"),
        ({"rate_per_s": 0.0}, JobError, "rate_per_s = 0 must be above 0"),
        ({"rate_per_s": -3.0}, JobError, "rate_per_s = -3"),
        ({"rate_per_s": float("nan")}, JobError, "rate_per_s = nan"),
        ({"rate_per_s": float("inf")}, JobError, "rate_per_s = inf"),
        ({"duration_s": 0.01}, JobError, "drive longer"),
        ({"slo_p99_s": 0.0}, JobError, "slo_p99_s = 0"),
        ({"slo_p99_s": 20.0}, JobError, "timeout_s = 10 must be longer than slo_p99_s = 20"),
        ({"warmup_s": -1.0}, JobError, "warmup_s = -1"),
        ({"processes": 0}, JobError, "processes = 0"),
        ({"processes": 4, "connections": 3}, JobError, "connections = 3 is fewer than processes = 4"),
        ({"arrivals": "bursty"}, JobError, "poisson, constant, gamma, trace"),
        ({"arrivals": "trace"}, JobError, "trace = None"),
        ({"usd_per_hour": -0.1}, JobError, "usd_per_hour = -0.1"),
        ({"headers": (("a\r\nb", "c"),)}, JobError, "NAME: VALUE"),
        ({"bodies": ()}, DataError, "no request to send"),
    ],
)
def test_a_load_that_cannot_be_driven_is_told(changes, kind, says):
    with pytest.raises(kind) as told:
        load(**changes)
    assert says in str(told.value)


def test_an_unreadable_trace_is_told(tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv' cannot be read"):
        mean_rate(None, tmp_path / "gone.csv")
    (tmp_path / "words.csv").write_text("at\nsoon\nlater\n")
    with pytest.raises(DataError, match="first column must hold timestamps"):
        mean_rate(None, tmp_path / "words.csv")
    with pytest.raises(JobError, match="--rate"):
        mean_rate(None, None)


def test_bodies_are_the_lines_put_into_the_template(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text('"How?"\n\n{"text": "Wh\\u2028y é?"}\n', encoding="utf-8")
    assert bodies(path, None) == (b'"How?"', '{"text": "Wh\\u2028y é?"}'.encode())
    assert bodies(path, None, '{"items": [$REQUEST]}')[0] == b'{"items": ["How?"]}'


def test_generated_bodies_have_the_asked_sizes():
    texts = [json.loads(body) for body in bodies(None, "text:3-5")]
    assert len(texts) == NUM_GENERATED and {len(text.split()) for text in texts} == {3, 4, 5}
    assert {len(json.loads(body)) for body in bodies(None, "numbers:784")} == {784}
    assert bodies(None, "numbers:4", seed=1) != bodies(None, "numbers:4", seed=2)


@pytest.mark.parametrize(
    ("text", "generate", "template", "says"),
    [
        ("", None, "$REQUEST", "holds no requests"),
        ("\n \n", None, "$REQUEST", "holds no requests"),
        ('"a"\nnot json\n', None, "$REQUEST", "line 2: not JSON"),
        ('"a"\n', None, "{}", "put $REQUEST there"),
        ('"a"\n', None, "{$REQUEST", "makes no JSON"),
        ('"a"\n', "text:3", "$REQUEST", "either"),
        (None, None, "$REQUEST", "either"),
        (None, "images:3", "$REQUEST", "images:3"),
        (None, "text:0", "$REQUEST", "text:0"),
        (None, "text:", "$REQUEST", "text:WORDS"),
        (None, "numbers:3-x", "$REQUEST", "numbers:3-x"),
    ],
)
def test_requests_that_are_none_are_told(tmp_path, text, generate, template, says):
    path = None if text is None else tmp_path / "requests.jsonl"
    if path is not None:
        path.write_text(text)
    with pytest.raises((DataError, JobError)) as told:
        bodies(path, generate, template)
    assert says in str(told.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        bodies(tmp_path / "gone.jsonl", None)
    with pytest.raises(DataError, match="cannot be read"):
        bodies(tmp_path, None)


def test_a_request_on_the_wire():
    asked = load(
        url="https://[::1]/v1/predict?a=1", bodies=("é".encode(),), headers=(("Content-Type", "text/x"), ("X-Key", " k "))
    )
    head, _, body = payloads(asked)[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/predict?a=1 HTTP/1.1"
    assert {"host: [::1]:443", "content-type: text/x", "x-key: k", "content-length: 2"} <= set(lines[1:])
    assert body.decode() == "é" and endpoint(asked.url).secure
