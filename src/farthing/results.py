"""READ THIRD: the nouns of what is found out, from one measurement to the Decision."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from farthing.types import Array, Build, Deployment, Floor, Slo, Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measured figure with its interval. A prediction is never one of these."""

    name: str
    value: float
    unit: str
    low: float
    high: float
    num_samples: int
    protocol: str
    environment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One predicted figure: by which model, and how wrong that model has been (relative, None: not yet compared)."""

    name: str
    value: float
    unit: str
    model: str
    relative_error: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What it is, how much of it, and its measured ceilings (0.0: not measured)."""

    name: str
    kind: str  # cpu, cuda
    num_cores: int
    memory_bytes: float
    flops_per_s: Mapping[str, float]  # dtype (float32, bfloat16, int8) -> peak
    bytes_per_s: float
    power_w: float | None = None  # modelled draw under load, None: unknown
    source: str = "measured"  # or where published ceilings come from


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operator of the original at the job's shapes, per request batch."""

    name: str
    kind: str  # linear, conv, attention, norm, elementwise, ...
    seconds: float
    flops: float
    bytes: float
    bound: Literal["compute", "memory", "overhead"]
    roofline_fraction: float  # time the ceilings allow / time taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One limit: what binds, its share of the cost, the evidence, and the most that mending it can save (Amdahl)."""

    cause: str  # compute, memory, overhead, padding, host, oversubscription, sensitivity
    share: float  # of the original's time
    evidence: str
    max_saving: float  # share of the cost: 1 - 1/speedup bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    ops: tuple[Op, ...]
    findings: tuple[Finding, ...]
    device: Device
    host_s: float  # tokenizing and collating, per request
    model_s: float  # the model itself, per request, at the job's mean length
    lengths: Array  # tokens (or 1) of each request of a sample of the traffic
    sensitivities: tuple[tuple[str, float], ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()  # (family of methods, why it cannot pay here)
    num_train: int = 0  # items that a method may learn from
    bytes_are_limited: bool = False  # the job says how large the artifact may be


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTimes:
    """Raw times of one opened build: `seconds[i]` are the rounds of one batch of batch_size x length, all streams busy."""

    threads: int
    streams: int
    batch_sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    seconds: tuple[tuple[float, ...], ...]
    baseline_seconds: tuple[tuple[float, ...], ...]  # the baseline's own reference batch, timed in the same rounds
    host_s: float = 0.0  # encoding and collating, per request
    watts: float | None = None  # drawn by the machine in those rounds, read from a sensor; None: there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceModel:
    """T(b, n) = c0 + c1 b + c2 b n + c3 b n^2 seconds for a batch of b items padded to n tokens, with all streams busy."""

    coefficients: tuple[float, float, float, float]
    relative_error: float  # the worst of the fit at the measured shapes
    host_s: float  # encoding and collating, per request
    threads: int
    streams: int
    watts: float | None = None  # measured draw of the machine while all streams are busy; None: no sensor

    def seconds(self, batch_size: int, length: float) -> float:
        c0, c1, c2, c3 = self.coefficients
        return c0 + batch_size * (self.host_s + c1 + (c2 + c3 * length) * length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A candidate that left the search, where and why. Failure is data."""

    stage: str  # check, transform, convert, open, output, race, cost, slo, certify, load, budget
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The verdict of one one-sided test: H0 "the drop is at least max_drop" is rejected iff upper_bound < max_drop."""

    metric: str
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    original: float
    candidate: float
    drop: float  # point estimate, positive is worse
    upper_bound: float  # one-sided, at 1 - alpha
    max_drop: float
    alpha: float
    num_items: int
    protocol: str
    certifiable_drop: float  # the least drop that this many items could certify, were the true drop zero
    items_missing: int  # about how many more items would settle it; 0 when settled
    slice: str | None = None
    minimum: float | None = None  # what the metric must reach; the drop is counted from there. None: from the original


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """One line of the bill, in FOCUS terms: what, how much of it, at which price, in USD per million requests."""

    sku: str
    unit: str
    quantity: float  # units per million requests
    usd_per_unit: float
    usd: float
    source: str
    observed_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    lines: tuple[CostLine, ...]
    usd_per_million: float
    usd_per_month: float
    joules_per_million: float | None = None
    grams_co2e_per_million: float | None = None
    energy_source: str = ""  # measured by which meter, or modelled how
    predicted: bool = False  # priced from predicted, not measured, service times
    machine: str = ""
    num_machines: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPrice:
    """USD for one hour of a machine, where it comes from and when it was seen."""

    sku: str
    usd_per_hour: float
    vcpus: float
    memory_gib: float
    source: str
    observed_at: str
    spot: bool = False
    accelerator: str | None = None
    accelerator_count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Answers of the original and of a candidate to the same items, in the same order; what a certificate is computed from."""

    original: Array  # (n, ...) predictions
    candidate: Array  # (n, ...)
    labels: Array | None = None
    slices: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A deployment with everything that was found out about it. The baseline is one too."""

    deployment: Deployment
    cost: Cost | None = None  # from measured service times and the simulated queue
    figures: tuple[Measurement, ...] = ()  # latency_p50_s, throughput_per_s, peak_bytes, artifact_bytes, cold_start_s, ...
    predictions: tuple[Prediction, ...] = ()  # what was expected of it before it was measured
    certificates: tuple[Certificate, ...] = ()
    latencies_s: tuple[float, ...] = ()  # of the driven load, sorted, at most 2,000 of them
    rejected: Rejected | None = None

    def figure(self, name: str) -> Measurement | None:
        return next((m for m in self.figures if m.name == name), None)

    @property
    def certified(self) -> bool:
        return bool(self.certificates) and all(c.verdict == "PASS" for c in self.certificates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One build tried: its best deployment as measured and simulated, and what a later step needs to open it again."""

    build: Build
    candidate: Candidate
    directory: Path | None = None  # of the build's pipeline; None: it was rejected before there was one
    services: tuple[ServiceModel, ...] = ()  # one per layout of the cores
    times: tuple[ServiceTimes, ...] = ()
    peak_bytes: float = 0.0
    convincing: bool = False  # on the search split, the bound of every floor's drop is inside its limit
    seconds: float = 0.0  # that the trial took


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of the bill's waterfall: what the winner would cost without this step, measured by leaving it out."""

    step: str
    usd_per_million_without: float
    usd_per_million_saved: float  # usd_per_million_without - the winner's
    measured: bool  # False: leaving it out gives nothing that runs; the reason stands in `note`
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer: what to run, what it saves against the named baseline, and everything that was turned down."""

    job_name: str
    job_digest: str
    verdict: Literal["saves", "keep", "nothing"]  # nothing: no deployment keeps floor and SLO (exit code 3)
    summary: str  # one sentence in plain words
    baseline: Candidate
    chosen: Candidate | None
    saving: Measurement | None  # cost(chosen) / cost(baseline), of rounds in turns that the choice did not go by
    candidates: tuple[Candidate, ...]  # all that were measured, the cheapest first
    front: tuple[Candidate, ...]  # Pareto: no other is cheaper, better and faster
    rejected: tuple[Candidate, ...]
    waterfall: tuple[Bar, ...] = ()
    interaction_usd_per_million: float = 0.0  # baseline - chosen - sum of the bars
    break_even_requests: float | None = None  # after how many requests the search has paid for itself
    search_usd: float = 0.0
    search_s: float = 0.0
    cheapest_rates_per_s: tuple[float, float] | None = None  # range of traffic in which the choice stays the cheapest
    cheapest_price_ratios: tuple[float, float] | None = None  # of USD per GiB-hour / USD per vCPU-hour, likewise
    relax: tuple[str, ...] = ()  # verdict "nothing": which demand to relax, by how much
    profile: Profile | None = None
    num_items: Mapping[str, int] = field(default_factory=dict)  # per split
    environment: Mapping[str, str] = field(default_factory=dict)
    artifact: str | None = None
    floors: tuple[Floor, ...] = ()
    traffic: Traffic | None = None
    slo: Slo | None = None
    seed: int | None = None
    notes: tuple[str, ...] = ()  # what was chosen for the person, skipped families, warnings


def percentile(samples: Iterable[float], p: float) -> float:
    """The nearest-rank percentile: the smallest sample with at least p% of all samples at or below it."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(p / 100 * len(ordered)) - 1)]
