"""The nouns: everything that farthing says, it says in these frozen dataclasses. All are small, hashable or JSON-able."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Feeds = dict[str, Array]  # name of a model input -> one batch of it
Column = Sequence[str] | Array  # one column of data: texts, or an array whose first axis counts items

# ---------------------------------------------------------------- what the person asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRef:
    """A member of an open set by its file's name, with its knobs: `plugins.make(kind, ref)` builds it."""

    name: str
    knobs: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.knobs)})" if self.knobs else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Quality to keep: `metric` may fall by at most `max_drop` against the original, or must reach `minimum`.

    With `slices` (a column), the same limit (or `slice_max_drop`) holds in each of its values, corrected for multiplicity.
    """

    metric: str
    max_drop: float | None = None
    minimum: float | None = None
    confidence: float = 0.95
    slices: str | None = None
    slice_max_drop: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """MLPerf scenario. server: `rate_per_s` (Poisson) or `trace`; offline: `num_items` by `deadline_s`; single_stream."""

    scenario: Literal["server", "offline", "single_stream"]
    rate_per_s: float | None = None
    trace: Path | None = None  # CSV whose first column holds timestamps (ISO or seconds)
    num_items: int | None = None
    deadline_s: float | None = None
    requests_per_month: float | None = None  # default: what the rate gives; offline: one run of num_items a day


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Ceilings on latency, from the intended send time to the answer."""

    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None

    def ceilings(self) -> tuple[tuple[float, float], ...]:
        """(percentile, seconds) for each ceiling that is set."""
        pairs = ((50.0, self.latency_p50_s), (95.0, self.latency_p95_s), (99.0, self.latency_p99_s))
        return tuple((p, s) for p, s in pairs if s is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """How work is billed. share: vCPU-seconds and GiB-seconds that are used. whole_machines: integer machines, idle or not."""

    mode: Literal["share", "whole_machines"] = "share"
    usd_per_hour: float | None = None  # of this machine, all its cores and memory
    source: MemberRef | None = None  # a member of price_sources/, when not usd_per_hour
    sku: str | None = None  # this machine in that table
    menu: tuple[str, ...] = ()  # other machine sizes that may be rented (whole_machines); predicted, marked so
    spot: bool = False
    headroom: float = 0.2  # share of a machine's capacity kept free
    spare_machines: int = 0  # N+1: machines beyond the need
    grams_co2e_per_kwh: float = 445.0  # world average of 2024 power generation, IEA Electricity 2025


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the search may spend on this machine; its cost counts in the break-even."""

    minutes: float = 30.0
    trial_timeout_s: float = 300.0
    max_rss_gib: float | None = None  # of one worker; default: 80% of what is free


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Items of one split: `columns[i][j]` is input i of item j. Items of a pair job have two text columns, scored by cosine."""

    columns: tuple[Column, ...]
    labels: Array | None = None
    slices: Mapping[str, Array] = field(default_factory=dict)  # slice column -> its value per item
    pair: bool = False

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    @property
    def requests(self) -> list[tuple[Any, ...]]:
        """What is sent to the model: one tuple of inputs a request. An item of a pair is two requests, left then right."""
        if self.pair:
            return [(text,) for item in zip(*self.columns, strict=True) for text in item]
        return list(zip(*self.columns, strict=True))

    def predictions(self, answers: Array) -> Array:
        """(n, ...) what metrics read, from the answers to `requests`: of a pair, the cosine of its two answers."""
        if not self.pair:
            return answers
        unit = answers / np.linalg.norm(answers, axis=1, keepdims=True)
        return np.asarray((unit[0::2] * unit[1::2]).sum(axis=1))

    def take(self, index: Array) -> "Dataset":
        def pick(column: Column) -> Column:
            return column[index] if isinstance(column, np.ndarray) else [column[int(i)] for i in index]

        return Dataset(
            columns=tuple(pick(c) for c in self.columns),
            labels=None if self.labels is None else self.labels[index],
            slices={name: value[index] for name, value in self.slices.items()},
            pair=self.pair,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Seeded and disjoint; equal inputs and rows of one group stay on one side."""

    train: Dataset  # for methods that learn
    calibrate: Dataset  # for ranges and thresholds
    search: Dataset  # racing looks at it
    verify: Dataset  # the certificate is given on it; nothing else may open it


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything the person asked for, checked. `digest` names the question: same digest, same run."""

    name: str
    model: MemberRef  # a member of model_sources/
    splits: Splits
    floors: tuple[Floor, ...]
    traffic: Traffic
    slo: Slo
    prices: Prices
    budget: Budget
    seed: int
    digest: str
    trust: bool = False  # the person allows code to be loaded from the model's own files (pickles)
    methods: tuple[str, ...] | None = None  # restrict the search to these members; None: all
    runtimes: tuple[str, ...] | None = None
    carry_sample: bool = True  # the artifact carries items of the verify split, so that others can check it
    notes: tuple[str, ...] = ()  # what was chosen for the person while the data was split; no part of the digest


# ---------------------------------------------------------------- what is run


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """An input or output of a model: an int is a fixed size, a name ("batch", "length") one that varies."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Pre-processing, a model in one form, post-processing: a folder on disk, described.

    The model never lives in the parent: `directory / file` is opened by a worker. `farthing.pipeline` reads and writes
    these folders, and encodes and collates requests for them.
    """

    directory: Path
    form: str  # torch, exported, onnx, openvino, sklearn, aoti, ...
    file: str  # the model's file or folder inside `directory`
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]  # the first output is the answer that metrics read
    traits: frozenset[str] = frozenset()  # e.g. float_weights, bf16, int8; methods need, add and drop them
    tokenizer: str | None = None  # tokenizer file inside `directory`; None: requests are arrays
    max_length: int | None = None  # in tokens; longer texts are cut
    pad_id: int = 0
    pickled: bool = False  # the model's file is code (a pickle): opened only where that is trusted

    @property
    def path(self) -> Path:
        return self.directory / self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a method or conversion needs from the house; the flow fills it in."""

    calibration: tuple[Feeds, ...]  # batches from the calibrate split, padded as traffic would be
    sensitivities: tuple[tuple[str, float], ...] = ()  # (layer path, relative output error when it alone is int8), worst first
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """recipe x runtime x device kind. Quality is a property of a build."""

    recipe: tuple[MemberRef, ...]
    runtime: MemberRef
    device_kind: str = "cpu"

    def __str__(self) -> str:
        return " + ".join(str(step) for step in (*self.recipe, self.runtime))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """build x threads x streams x batching x replicas x machine. Latency and cost are properties of a deployment."""

    build: Build
    threads: int = 1  # per stream
    streams: int = 1  # batches in flight in one replica
    batch_size: int = 1  # largest batch
    batch_delay_s: float = 0.0  # longest wait of the first item for a batch to fill
    bucketing: bool = False  # batches are made of items of like length
    replicas: int = 1
    machine: str | None = None  # SKU; None: this machine

    def __str__(self) -> str:
        shape = f"{self.streams}x{self.threads} threads, batch {self.batch_size}"
        delay = f", wait {self.batch_delay_s * 1e3:g} ms" if self.batch_delay_s else ""
        return f"{self.build} [{shape}{delay}{', bucketed' if self.bucketing else ''}]"


# ---------------------------------------------------------------- what is found out


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceModel:
    """T(b, n) = c0 + c1 b + c2 b n + c3 b n^2 seconds for a batch of b items padded to n tokens, with all streams busy."""

    coefficients: tuple[float, float, float, float]
    relative_error: float  # the worst of the fit at the measured shapes
    host_s: float  # encoding and collating, per request
    threads: int
    streams: int

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
    saving: Measurement | None  # cost(chosen) / cost(baseline), paired rounds, after the choice
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


Split = Literal["train", "calibrate", "search", "verify"]
Progress = Callable[[str, Mapping[str, Any]], None]  # event name, its facts: what the terminal view draws


def percentile(samples: Iterable[float], p: float) -> float:
    """The nearest-rank percentile: the smallest sample with at least p% of all samples at or below it."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(p / 100 * len(ordered)) - 1)]
