"""bench() against a real server whose delays are known; nothing here depends on how quiet the machine is."""

import http.client
import json
import time
from urllib.parse import urlsplit

import pytest

from farthing.bench import Load, bench, bodies
from farthing.bench import run as running
from farthing.bench.figures import figures
from farthing.bench.run import NARROW_ENOUGH, carried
from farthing.errors import EndpointError, JobError, LoadVoid

from .server import STALL_S, STEADY_S
from .test_figures import tally

REQUESTS = bodies(None, "text:3-9")


def drive(url, **changes):
    load = Load(**{"url": url, "bodies": REQUESTS, "rate_per_s": 100.0, "duration_s": 2.0, "warmup_s": 0.2} | changes)
    return bench(load).runs[0]


def told(url):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port)
    connection.request("GET", "/told")
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def test_every_request_is_sent_and_answered(url):
    before = len(told(url)["seen"])
    run = drive(f"{url}/steady", processes=2)
    assert (run.num_sent, run.num_good, run.num_shed, run.failures) == (200, 200, 0, {})
    assert run.percentiles[0].low_s >= STEADY_S
    assert run.num_connections < run.num_sent, "connections are kept"
    assert sum(second.good for second in run.timeline) == 200
    seen = [json.dumps(body).encode() for body in told(url)["seen"][before:]]
    warmup_and_first_try = 20 + 1
    assert sorted(seen) == sorted([REQUESTS[0], *(REQUESTS[i % len(REQUESTS)] for i in range(200 + warmup_and_first_try - 1))])


def test_a_stall_is_not_hidden(url):
    """With one request at a time, a stall hurts one; sent on time, it hurts a quarter of all, half of them by half of it."""
    run = drive(f"{url}/stalls", duration_s=4.0)
    assert run.num_good == run.num_sent == 400
    p90 = next(found.value_s for found in run.percentiles if found.p == 90)
    assert p90 > 0.4 * STALL_S
    assert run.num_connections > 30 and run.num_waited == 0
    assert max(second.slowest_s for second in run.timeline) > 0.8 * STALL_S
    parts = urlsplit(url)
    connection, slow, until = http.client.HTTPConnection(parts.hostname, parts.port), 0, time.monotonic() + 2.0
    while time.monotonic() < until:
        started = time.monotonic()
        connection.request("POST", "/stalls", "1")
        connection.getresponse().read()
        slow += time.monotonic() - started > 0.4 * STALL_S
        time.sleep(0.005)
    connection.close()
    assert slow <= 3, "what a closed loop sees of the same server"


def test_too_few_connections_are_told(url):
    run = drive(f"{url}/stalls", duration_s=4.0, connections=4)
    assert run.num_good == run.num_sent, "those that waited were served in the end"
    assert run.num_waited > 20 and run.num_connections == 4
    assert run.void is not None


def test_what_is_shed_is_no_error(url):
    run = drive(f"{url}/sheds")
    assert run.failures == {} and run.num_good + run.num_shed == run.num_sent
    assert 90 <= run.num_shed <= 110


def test_failures_by_cause(url, rude):
    assert drive(f"{url}/fails").failures == {"500": 200}
    run = drive(f"{rude}/hangs_up", connections=50)  # fewer than are lost
    assert set(run.failures) == {"hung up"} and 90 <= run.failures["hung up"] <= 110
    assert run.num_good == run.num_sent - run.failures["hung up"]
    assert drive(f"{rude}/mumbles").failures == {"bad answer": 200}


def test_answers_of_every_framing_are_read(url, rude):
    assert drive(f"{url}/chunked").num_good == 200
    assert drive(f"{rude}/closes").num_good == 200


def test_a_late_answer_is_a_timeout(url):
    run = drive(f"{url}/sleeps", timeout_s=2.0, slo_p99_s=1.0)
    assert set(run.failures) == {"timeout"} and run.failures["timeout"] >= 40
    assert run.num_good + run.failures["timeout"] == run.num_sent and run.max_s < 2.5
    assert run.share_in_time < 0.9


def test_more_than_python_can_send_is_void(url):
    run = drive(f"{url}/fails", rate_per_s=40_000.0, duration_s=0.2, warmup_s=0.0)
    assert run.num_sent == 8000 and run.void is not None


def test_headers_are_sent(url):
    assert drive(f"{url}/told", headers=(("X-Deadline", "1"),), duration_s=0.1).num_good == 10


def test_a_server_that_is_not_there_costs_no_run(url, monkeypatch):
    monkeypatch.setattr(running, "_drive", None)
    with pytest.raises(EndpointError, match=r"nobody listens on 127\.0\.0\.1:1 "):
        drive("http://127.0.0.1:1/")
    with pytest.raises(EndpointError, match=r"answered the first request with 422: .*no field 'inputs'"):
        drive(f"{url}/refuses")
    with pytest.raises(EndpointError, match="404"):
        drive(f"{url}/nowhere")
    with pytest.raises(EndpointError, match=r"the host of http://no-such-host\.invalid/ is not known"):
        drive("http://no-such-host.invalid/")
    with pytest.raises(EndpointError, match="no TLS"):
        drive(url.replace("http:", "https:"))


def test_a_dead_generator_is_told(url, monkeypatch):
    monkeypatch.setattr(running.sys, "executable", "/bin/false")
    with pytest.raises(LoadVoid, match="a generator process died"):
        drive(f"{url}/steady")


@pytest.fixture
def capacity(monkeypatch):
    """Stands in for a server that carries so many requests per second, and for a generator that drives any rate up to 5,000."""

    def set_to(capacity_per_s):
        def drove(load, address):
            number = round(load.rate_per_s * load.duration_s)
            good = round(min(capacity_per_s * load.duration_s, number))
            lag_s = 1e-4 if load.rate_per_s < 5000 else 1.0
            late_s = 0.5 if good < number else 0.01
            return figures(load, tally([0.01] * good + [late_s] * (number - good), ceiling_s=0.1, lag_s=lag_s))

        monkeypatch.setattr(running, "_drive", drove)
        monkeypatch.setattr(running, "_try_out", lambda load: "127.0.0.1")

    return set_to


@pytest.mark.parametrize("slo_p99_s", [0.1, None])
@pytest.mark.parametrize("start_per_s", [50.0, 300.0, 900.0])
def test_a_sweep_finds_the_knee(capacity, start_per_s, slo_p99_s):
    capacity(300)
    load = Load(url="http://h/", bodies=(b"1",), rate_per_s=start_per_s, duration_s=10.0, slo_p99_s=slo_p99_s)
    shown = []
    done = bench(load, sweep=True, progress=shown.append)
    slack = 0.99 if slo_p99_s else 0.95  # the share that must be answered in time
    assert 300 / NARROW_ENOUGH <= done.knee.rate_per_s <= 300 / slack * 1.001
    assert carried(done.knee) and done.knee.goodput_per_s > 270 and "the knee lies between" in done.stopped
    assert tuple(shown) == done.runs and len(done.runs) < 10


def test_a_sweep_ends_where_the_generator_does(capacity):
    capacity(1e9)
    done = bench(Load(url="http://h/", bodies=(b"1",), rate_per_s=1000.0, duration_s=1.0, slo_p99_s=0.1), sweep=True)
    assert done.knee.rate_per_s == 4000 and "the generator was the limit" in done.stopped
    assert [run.rate_per_s for run in done.runs] == [1000, 2000, 4000, 8000, 8000, 8000], "a void rate is tried again"


def test_a_sweep_that_cannot_tell_says_so(capacity):
    capacity(1)
    load = Load(url="http://h/", bodies=(b"1",), rate_per_s=100.0, duration_s=10.0, slo_p99_s=0.1)
    done = bench(load, sweep=True)
    assert done.knee is None and "are too short to tell" in done.stopped
    with pytest.raises(JobError, match="10 s at 10/s cannot show a p99: start higher, or drive for 30 s"):
        bench(Load(url="http://h/", bodies=(b"1",), rate_per_s=10.0, duration_s=10.0, slo_p99_s=0.1), sweep=True)
