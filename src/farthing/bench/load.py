"""What is asked of the load generator: where, what, how fast, and when each request is to be sent."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from farthing import traffic
from farthing.errors import DataError, EndpointError, JobError
from farthing.types import Array, Traffic

ARRIVALS = ("poisson", "constant", "gamma", "trace")
PLACE = "$REQUEST"  # where a template takes the request
NUM_GENERATED = 256
WORDS = ["a", "answer", "few", "is", "many", "model", "no", "of", "people", "question", "server", "the", "waits", "while"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One offered load. Raises JobError for a value that cannot be driven, EndpointError for a URL that is none."""

    url: str
    bodies: tuple[bytes, ...]  # request i sends bodies[i % len(bodies)]
    rate_per_s: float
    duration_s: float = 30.0
    arrivals: str = "poisson"
    cv: float = 2.0  # gamma: standard deviation of the gaps over their mean; 1 is Poisson
    trace: Path | None = None
    slo_p99_s: float | None = None
    timeout_s: float = 10.0  # from the intended send; then the request is given up and counts as an error
    warmup_s: float = 1.0  # sent at the same rate before, and not judged
    processes: int = 1
    connections: int = 1000  # at most, over all processes
    headers: tuple[tuple[str, str], ...] = ()
    usd_per_hour: float | None = None  # of one machine
    machines: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        endpoint(self.url)
        _check_figures(self)
        if not self.bodies:
            raise DataError("there is no request to send: give a file of JSON Lines, or what to generate")
        if self.arrivals not in ARRIVALS:
            raise JobError(f"arrivals = {self.arrivals!r} is not known: choose one of {', '.join(ARRIVALS)}")
        if (self.arrivals == "trace") != (self.trace is not None):
            raise JobError(f"arrivals = {self.arrivals!r} with trace = {self.trace}: a trace file goes with 'trace'")
        for name, value in self.headers:
            if not name.strip() or any(c in name + value for c in "\r\n"):
                raise JobError(f"header {name!r} cannot be sent: give NAME: VALUE on one line")


@dataclass(frozen=True, slots=True)
class Endpoint:
    secure: bool
    host: str
    port: int
    path: str


def endpoint(url: str) -> Endpoint:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise EndpointError(f"{url!r} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or any(c.isspace() for c in url):
        raise EndpointError(f"{url!r} is not a URL that can be driven: expected http://HOST:PORT/PATH, or https")
    secure = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(secure, parts.hostname, port or (443 if secure else 80), path)


def send_times(load: Load) -> Array:
    """Ascending seconds: an even warm-up, then n = rate x duration requests, so that exactly the asked rate is judged.

    n + 1 gaps scaled to the duration: with exponential gaps (Gamma of shape 1) a Poisson process given its count, that is
    sorted uniforms; with Gamma gaps of shape 1 / cv^2 a bursty one. A trace keeps its own gaps, from a seeded starting
    point, wrapping around.
    """
    before_s = np.arange(round(load.rate_per_s * load.warmup_s)) / load.rate_per_s
    n = round(load.rate_per_s * load.duration_s)
    if load.arrivals == "trace":
        judged_s = traffic.arrivals(Traffic(scenario="server", trace=load.trace), n, load.rate_per_s, load.seed)
    else:
        gaps_s = _gaps(load, n + 1)
        judged_s = np.cumsum(gaps_s)[:-1] * (load.duration_s / gaps_s.sum())
    return np.concatenate([before_s, load.warmup_s + judged_s])


def _gaps(load: Load, num_gaps: int) -> Array:
    if load.arrivals == "constant":
        return np.ones(num_gaps)
    shape = 1.0 if load.arrivals == "poisson" else load.cv**-2
    return np.random.default_rng(load.seed).gamma(shape, 1 / shape, num_gaps)


def mean_rate(rate_per_s: float | None, trace: Path | None) -> float:
    """What was asked, else the trace's own. Raises JobError where there is neither, DataError as `read_trace` does."""
    own = traffic.rate_per_s(Traffic(scenario="server", rate_per_s=rate_per_s, trace=trace))
    if own is None:
        raise JobError("how many requests per second? Give --rate, or a --trace that has its own")
    return own


def bodies(requests: Path | None, generate: str | None, template: str = PLACE, *, seed: int = 0) -> tuple[bytes, ...]:
    """JSON values, each put where `template` says `$REQUEST`: the lines of a file, or what is generated.

    `text:8-32` generates texts of so many words, `numbers:784` lists of so many numbers from N(0, 1).
    Raises DataError for a file that cannot be sent, JobError for a template or a kind that is none.
    """
    if (requests is None) == (generate is None):
        raise JobError("give either a file of --requests or what to --generate, for example text:8-32")
    _check_template(template)
    values = _read(requests) if requests is not None else _generated(generate or "", seed)
    return tuple(template.replace(PLACE, value).encode() for value in values)


def _read(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from error
    values = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: not JSON: {error}") from error
            values.append(line.strip())
    if not values:
        raise DataError(f"{path} holds no requests: write one a line, as JSON")
    return values


def _generated(what: str, seed: int) -> list[str]:
    kind, _, size = what.partition(":")
    low, _, high = size.partition("-")
    if kind not in ("text", "numbers") or not low.isdigit() or not (high or low).isdigit() or int(low) < 1:
        raise JobError(f"cannot generate {what!r}: expected text:WORDS or numbers:COUNT, for example text:8-32")
    generator = np.random.default_rng(seed)
    counts = generator.integers(int(low), max(int(high or low), int(low)) + 1, NUM_GENERATED)
    if kind == "text":
        return [json.dumps(" ".join(generator.choice(WORDS, count))) for count in counts]
    return [json.dumps([round(float(number), 4) for number in generator.normal(size=count)]) for count in counts]


def payloads(load: Load) -> list[bytes]:
    """Each body as a whole HTTP/1.1 request."""
    target = endpoint(load.url)
    host = f"[{target.host}]" if ":" in target.host else target.host
    named = {"host": f"{host}:{target.port}", "content-type": "application/json", "accept": "*/*", "user-agent": "farthing"}
    named |= {name.strip().lower(): value.strip() for name, value in load.headers}
    head = f"POST {target.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return [f"{head}content-length: {len(body)}\r\n\r\n".encode() + body for body in load.bodies]


def _check_figures(load: Load) -> None:
    above_0 = ["rate_per_s", "duration_s", "timeout_s", "cv", "processes", "connections", "machines"]
    for name in above_0 + [name for name in ("slo_p99_s", "usd_per_hour") if getattr(load, name) is not None]:
        if not 0 < getattr(load, name) < math.inf:
            raise JobError(f"{name} = {getattr(load, name):g} must be above 0")
    if not 0 <= load.warmup_s < math.inf:
        raise JobError(f"warmup_s = {load.warmup_s:g} must be 0 or more")
    if load.rate_per_s * load.duration_s < 2:
        raise JobError(f"{load.rate_per_s:g} requests per second for {load.duration_s:g} s are fewer than 2: drive longer")
    if load.connections < load.processes:
        raise JobError(f"connections = {load.connections} is fewer than processes = {load.processes}")
    if load.slo_p99_s is not None and load.slo_p99_s >= load.timeout_s:
        raise JobError(f"timeout_s = {load.timeout_s:g} must be longer than slo_p99_s = {load.slo_p99_s:g}")


def _check_template(template: str) -> None:
    try:
        json.loads(template.replace(PLACE, "null"))
    except ValueError as error:
        raise JobError(f"the template {template!r} makes no JSON: {error}") from error
    if PLACE not in template:
        raise JobError(f"the template {template!r} does not say where the request goes: put {PLACE} there")
