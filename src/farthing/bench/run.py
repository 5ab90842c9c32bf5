"""bench(): generator processes at one rate, or at one rate after the other up to the knee."""

import contextlib
import http.client
import math
import pickle
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import IO

import numpy as np

from farthing.bench.figures import Bench, Run, figures
from farthing.bench.load import Endpoint, Load, endpoint, payloads, send_times
from farthing.bench.worker import Tally, Task
from farthing.errors import EndpointError, JobError, LoadVoid
from farthing.percentiles import samples_needed
from farthing.wording import many

LEAD_S = 0.1  # between the last process's `ready` and the first send
NARROW_ENOUGH = 1.1  # highest rate carried to lowest one not carried
MOST_RUNS = 20
VOID_TRIES = 3  # a rate is tried again if the machine may just have been busy with something else
NO_SLO_SHARE = 0.95  # of the rate that must come back as good answers where no SLO says what is carried
CLIENT_MISTAKES = {400, 401, 403, 404, 405, 411, 413, 414, 415, 422}

Progress = Callable[[Run], None]


def bench(load: Load, *, sweep: bool = False, progress: Progress | None = None) -> Bench:
    """Drive `load`; in a sweep also other rates, until the knee is known to NARROW_ENOUGH.

    Every run is kept, void ones too: look at `Run.void` before you believe one. The first request is tried alone.
    Raises EndpointError where nobody listens or the endpoint refuses that request.
    """
    if sweep and load.slo_p99_s is not None and load.rate_per_s * load.duration_s < samples_needed(99):
        needed_s = math.ceil(samples_needed(99) / load.rate_per_s)
        raise JobError(
            f"{load.duration_s:g} s at {load.rate_per_s:g}/s cannot show a p99: start higher, or drive for {needed_s} s"
        )
    address = _try_out(load)
    runs: list[Run] = []

    def run(rate_per_s: float) -> Run:
        for _ in range(VOID_TRIES if sweep else 1):
            runs.append(_drive(replace(load, rate_per_s=rate_per_s), address))
            if progress is not None:
                progress(runs[-1])
            if runs[-1].void is None:
                break
        return runs[-1]

    if not sweep:
        run(load.rate_per_s)
        return Bench(runs=tuple(runs))
    knee, stopped = _sweep(load, run)
    return Bench(runs=tuple(runs), knee=knee, stopped=stopped)


def _sweep(load: Load, run: Callable[[float], Run]) -> tuple[Run | None, str]:
    """Double (or halve) until the knee lies between two rates, then cut the span at its geometric mean."""
    knee, low, high, rate = None, 0.0, math.inf, load.rate_per_s
    for _ in range(MOST_RUNS):
        done = run(rate)
        if done.void is not None:
            return knee, f"at {rate:.4g}/s the generator was the limit: {done.void}"
        if carried(done):
            knee, low = done, rate
        else:
            high = rate
        if low and high / low <= NARROW_ENOUGH:
            return knee, f"the knee lies between {low:.4g} and {high:.4g}/s"
        rate = 2 * low if math.isinf(high) else math.sqrt(low * high) if low else high / 2
        if not low and rate * load.duration_s < samples_needed(99):
            return knee, f"not even {high:.4g}/s was carried, and at less {load.duration_s:g} s are too short to tell"
    return knee, f"after {MOST_RUNS} rates"


def carried(run: Run) -> bool:
    """The SLO was kept; without one, goodput kept up with the rate."""
    return run.goodput_per_s >= NO_SLO_SHARE * run.offered_per_s if run.slo_kept is None else run.slo_kept


def _drive(load: Load, address: str) -> Run:
    tasks = _tasks(load, address)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        workers = [_start(stack, task, log) for task in tasks]
        for worker in workers:
            assert worker.stdout is not None
            if worker.stdout.readline() != b"ready\n":
                raise _died(log)
        start_s = time.monotonic() + LEAD_S
        total = Tally()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(f"{start_s!r}\n".encode())
            worker.stdin.close()
        for worker in workers:
            assert worker.stdout is not None
            try:
                total.add(pickle.load(worker.stdout))
            except EOFError:
                raise _died(log) from None
    return figures(load, total)


def _tasks(load: Load, address: str) -> list[Task]:
    """Request i goes to process i modulo their number: together they send exactly the one stream."""
    send_at_s, whole, n = send_times(load), payloads(load), load.processes
    indices = np.arange(len(send_at_s)) % len(whole)
    return [
        Task(
            target=endpoint(load.url),
            address=address,
            payloads=whole,
            indices=indices[i::n],
            send_at_s=send_at_s[i::n],
            judged_from_s=load.warmup_s,
            timeout_s=load.timeout_s,
            slo_s=load.slo_p99_s,
            connections=load.connections // n,
        )
        for i in range(n)
        if len(send_at_s) > i
    ]


def _start(stack: contextlib.ExitStack, task: Task, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    """A fresh interpreter, not `multiprocessing`, which would run the caller's main script again."""
    command = [sys.executable, "-c", "from farthing.bench.worker import serve; serve()"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
    stack.callback(_stop, worker)
    assert worker.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        pickle.dump(task, worker.stdin)
        worker.stdin.flush()
    return worker


def _stop(worker: "subprocess.Popen[bytes]") -> None:
    worker.kill()
    for stream in (worker.stdin, worker.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    worker.wait()


def _died(log: IO[bytes]) -> LoadVoid:
    log.seek(0)
    last = log.read().decode(errors="replace").strip().rpartition("\n")[2]
    return LoadVoid(f"void: a generator process died{': ' + last if last else ''}")


def _try_out(load: Load) -> str:
    """One request before all others, so that a mistake costs no run; the address that answered."""
    target = endpoint(load.url)
    connection = _connection(target, load.timeout_s)
    where = f"{target.host}:{target.port}"
    try:
        connection.connect()
        address = str(connection.sock.getpeername()[0])
        connection.sock.sendall(payloads(load)[0])
        status, text = _answer(connection.sock)
    except ConnectionRefusedError as error:
        raise EndpointError(f"nobody listens on {where} (connection refused): is the server up?") from error
    except socket.gaierror as error:
        raise EndpointError(f"the host of {load.url} is not known: {error.strerror}") from error
    except TimeoutError as error:
        raise EndpointError(f"{where} did not answer within {many(load.timeout_s, 'second')}: raise the timeout?") from error
    except ssl.SSLError as error:
        raise EndpointError(
            f"no TLS with {where}: {error.reason or error}; SSL_CERT_FILE names other roots to trust"
        ) from error
    except OSError as error:
        raise EndpointError(f"{where} cannot be reached: {error.strerror or error}") from error
    finally:
        connection.close()
    if status in CLIENT_MISTAKES:
        raise EndpointError(f"{load.url} answered the first request with {status}: {text[:200]}")
    return address


def _connection(target: Endpoint, timeout_s: float) -> http.client.HTTPConnection:
    if target.secure:
        return http.client.HTTPSConnection(target.host, target.port, timeout=timeout_s)
    return http.client.HTTPConnection(target.host, target.port, timeout=timeout_s)


def _answer(answering: socket.socket) -> tuple[int, str]:
    """Status and text; 0 where it hung up or answered something else, which a run may be there to count."""
    try:
        response = http.client.HTTPResponse(answering, method="POST")
        response.begin()
        return response.status, " ".join(response.read(1000).decode(errors="replace").split())
    except (http.client.HTTPException, ConnectionResetError):
        return 0, ""
