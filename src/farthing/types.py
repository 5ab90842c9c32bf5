"""READ SECOND: the nouns of what the person asks for and of what is run. All are small, hashable or JSON-able."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
DeviceKind = Literal["cpu", "cuda"]
Feeds = dict[str, Array]  # name of a model input -> one batch of it
Column = Sequence[str] | Array  # one column of data: texts, or an array whose first axis counts items

# ---------------------------------------------------------------- what the person asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRef:
    """A member of an open set by its file's name, with its knobs: `plugins.make(kind, ref)` builds it."""

    name: str
    knobs: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        knobs = (f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in self.knobs)  # as a job file writes them
        return f"{self.name}({', '.join(knobs)})" if self.knobs else self.name


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
class Limits:
    """What a device has room for. What is larger is no candidate; the baseline is priced all the same."""

    artifact_bytes: float | None = None  # files of the build on disk: what is downloaded and stored
    peak_bytes: float | None = None  # resident memory of the process that runs it


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
    names: tuple[str, ...] = ()  # of the columns, where they have any: for messages

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
            names=self.names,
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
    limits: Limits = field(default_factory=Limits)
    seed: int
    digest: str
    trust: bool = False  # the person allows code to be loaded from the model's own files (pickles)
    methods: tuple[str, ...] | None = None  # restrict the search to these members; None: all
    runtimes: tuple[str, ...] | None = None
    device: DeviceKind = "cpu"  # what everything runs on and is priced for
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
class Learning:
    """How far a training has come."""

    share: float  # of all its steps
    epoch: int  # epochs that have ended
    num_epochs: int
    left_s: float  # at most: it may stop early
    loss: float | None = None  # on held-out items, where an epoch has just ended

    def __str__(self) -> str:
        loss = "" if self.loss is None else f"held-out loss {self.loss:.5g}, "
        return f"epoch {self.epoch} of {self.num_epochs}: {loss}at most {self.left_s:.0f} s left"


Tell = Callable[[Learning], None]


class House(Protocol):
    """What a method needs that is made of other builds, and who is told how far it has come."""

    @property
    def tell(self) -> Tell: ...

    def make(self, build: "Build", directory: Path) -> Pipeline:
        """The original brought through that build's recipe and conversions. Raises BuildError."""
        ...

    def answers(self, pipeline: Pipeline, runtime: MemberRef, requests: Sequence[tuple[Any, ...]]) -> Array:
        """(n, ...) its first output for each request."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a method or conversion needs from the house; the flow fills it in."""

    calibration: tuple[Feeds, ...]  # batches from the calibrate split, padded as traffic would be
    calibrate: Dataset = field(default_factory=lambda: Dataset(columns=()))  # all of that split: for thresholds
    sensitivities: tuple[tuple[str, float], ...] = ()  # (layer path, relative output error when it alone is int8), worst first
    threads: int = 1
    seed: int = 0
    train: Dataset = field(default_factory=lambda: Dataset(columns=()))  # for methods that learn
    original: Pipeline | None = None  # the model as it came: what a method that distils learns from
    checkpoints: Path | None = None  # a folder of this step alone, where a method that learns keeps how far it came
    house: House | None = None  # there while a method is applied

    @property
    def tell(self) -> Tell:
        """Who a training tells how far it has come; without a house, standard output."""
        return print if self.house is None else self.house.tell


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


Split = Literal["train", "calibrate", "search", "verify"]
Progress = Callable[[str, Mapping[str, Any]], None]  # event name, its facts: what the terminal view draws
