"""What every trial shares: the job, the run's store, the original, and the baseline's worker, which waits for its turns."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import numpy as np
import psutil

from farthing import pipeline as pipelines
from farthing import plugins, transform, workbench
from farthing.certification import Ledger, Race
from farthing.codec import digest
from farthing.errors import MORE_TIME, BuildError, BuildTimeout, DataError, JobError, ModelError, RecipeError
from farthing.forms.cascade_form import ITEM_DEPENDENT
from farthing.measurement import measure, session
from farthing.measurement.service import Yardstick
from farthing.measurement.session import Shape
from farthing.measurement.workers import Worker
from farthing.meters.base import Meter
from farthing.pricing import Demand, Tariff, Usage, demand_of, energy_meter, price, read_tariff
from farthing.results import Device, Evidence, Profile, ServiceModel, ServiceTimes, Trial
from farthing.runtimes.base import Runtime
from farthing.selection.screen import PriceOf
from farthing.selection.simulation import Simulated
from farthing.spec import check_fit
from farthing.store import Store
from farthing.types import Array, Build, Context, Dataset, Deployment, Job, Pipeline, Progress
from farthing.units import SECONDS_PER_MONTH, from_gib, from_minutes

ANSWER_BATCH = 32
NUM_CALIBRATION = 64  # requests, each a batch of its own: padding would reach the ranges
FREE_MEMORY_SHARE = 0.8
SEARCH_SHARE = 0.5  # of the budget; the rest is for certificates, loads and the waterfall
OFFLINE_BASELINE_BATCH = 32

Layout = tuple[int, int]  # threads per stream, streams


class Workshop:
    """Everything slow is computed when it is first asked for, and recorded in the store."""

    def __init__(self, job: Job, store: Store, progress: Progress) -> None:
        self.job, self.store, self.progress = job, store, progress
        self._parked: dict[str, Worker] = {}

    def __enter__(self) -> "Workshop":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._parked.values():
            worker.stop()

    @property
    def num_cores(self) -> int:
        return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1

    def goes_on(self, build: Build, trials: list[Trial]) -> bool:
        """Whether there is time to try it. What was tried before takes none; the first that ends in a price is always made."""
        return self.store.has("trial", digest(build)) or not trials or self.search_time_left_s() > 0

    def search_time_left_s(self) -> float:
        """Reading the person's model (their factory may train it) is not ours to count."""
        return SEARCH_SHARE * from_minutes(self.job.budget.minutes) - (self.store.spent_s - self._read_s)

    # ------------------------------------------------------------ workers

    @contextmanager
    def opened(self, build: Build, directory: Path, layout: Layout) -> Iterator[Worker]:
        """A fresh worker with that build open."""
        with self._new("candidate") as worker:
            worker.call(session.open_build, directory, build.runtime, *layout, build.device_kind)
            if ITEM_DEPENDENT in pipelines.read(directory).traits:
                worker.call(session.take_items, self.job.splits.search.requests)
            yield worker

    def builder(self) -> Worker:
        """The worker that snapshots, converts and quantizes; parked, since importing those libraries takes seconds."""
        if "builder" not in self._parked:
            self._parked["builder"] = self._new("builder")
        return self._parked["builder"]

    def dismiss_builder(self) -> None:
        """It may be dead, or hold on to what it failed on."""
        if worker := self._parked.pop("builder", None):
            worker.stop()

    def baseline_worker(self) -> Worker:
        """The original on one thread, opened once and parked between its turns: the yardstick of every round.

        One thread, because a neighbour on the machine slows two that wait for each other far more than it slows one.
        Raises ModelError if the original itself does not run.
        """
        if "baseline" not in self._parked:
            worker = self._new("baseline")
            deployment = self.baseline
            try:
                worker.call(
                    session.open_build,
                    self.original.directory,
                    deployment.build.runtime,
                    deployment.threads,
                    1,
                    self.device.kind,
                )
            except BuildError as error:
                worker.stop()
                raise ModelError(f"the original does not run on {deployment.build.runtime}: {error}") from error
            self._parked["baseline"] = worker
        return self._parked["baseline"]

    def _new(self, name: str) -> Worker:
        limit_gib = self.job.budget.max_rss_gib
        return Worker(
            log=self.store.directory / f"{name}.log",
            max_rss_bytes=from_gib(limit_gib) if limit_gib else FREE_MEMORY_SHARE * psutil.virtual_memory().available,
            timeout_s=self.job.budget.trial_timeout_s,
            told=lambda learning: self.progress("learning", {"learning": learning}),
        )

    # ------------------------------------------------------------ the original

    @cached_property
    def original(self) -> Pipeline:
        """The person's model as a folder of this run. Raises ModelError, or DataError if it reads other data."""

        def make(directory: Path) -> Pipeline:
            try:
                pipeline: Pipeline = self.builder().call(workbench.snapshot, self.job.model, directory, self.job.trust)
            except BuildError as error:
                more = f". {MORE_TIME}" if isinstance(error, BuildTimeout) else ""
                raise ModelError(f"the model {self.job.model} cannot be read: {error}{more}") from error
            return pipeline

        pipeline = self.store.folder("original", "model", make)
        check_fit(self.job.splits.search, pipeline)
        return pipeline

    @cached_property
    def _read_s(self) -> float:
        """Seconds that it took to read the original."""
        assert self.original
        return self.store.once("original read", "seconds", lambda: self.store.spent_s)

    @cached_property
    def baseline(self) -> Deployment:
        """The named baseline: the model as it came, on the runtime native to its form, all cores on one batch at a time."""
        kinds = [plugins.load(Runtime, name) for name in plugins.names(Runtime)]  # type: ignore[type-abstract]
        native = next((kind for kind in kinds if self.original.form in kind.native), None)
        if native is None:
            raise ModelError(f"no installed runtime is native to the form {self.original.form!r}: there is no baseline")
        size = OFFLINE_BASELINE_BATCH if self.job.traffic.scenario == "offline" else 1
        build = Build(recipe=(), runtime=plugins.ref(native()), device_kind=self.device.kind)
        return Deployment(build=build, threads=self.num_cores, batch_size=size)

    @cached_property
    def device(self) -> Device:
        """This machine with its ceilings, measured once and kept for later runs."""
        cache = state_home() / "ceilings.json"

        def compute() -> Device:
            try:
                found: Device = self.builder().call(workbench.ceilings, cache, self.job.device)
            except BuildError as error:
                raise JobError(f"device = {self.job.device!r}: {error}") from error
            return found

        return self.store.once("device", "ceilings", compute)

    @cached_property
    def profile(self) -> Profile:
        """The diagnosis, made by a process of its own."""

        def compute() -> Profile:
            requests, batch_size = self.job.splits.search.requests, self.baseline.batch_size
            with self._new("diagnosis") as worker:
                found: Profile = worker.call(
                    workbench.diagnosis, self.original, requests, self.device, self.context.calibration, batch_size=batch_size
                )
            return replace(
                found,
                num_train=len(self.job.splits.train),
                bytes_are_limited=self.job.limits.artifact_bytes is not None,
            )

        return self.store.once("profile", "original", compute)

    @cached_property
    def context(self) -> Context:
        requests = self.job.splits.calibrate.requests[:NUM_CALIBRATION]
        feeds = tuple(pipelines.feeds_of(self.original, requests, 1))
        return Context(
            calibration=feeds,
            calibrate=self.job.splits.calibrate,
            threads=self.num_cores,
            seed=self.job.seed,
            train=self.job.splits.train,
            original=self.original,
        )

    def feasible(self, build: Build) -> bool:
        """Whether forms and traits allow this build; nothing is run."""
        try:
            transform.check(self.original.form, self.original.traits, build)
        except RecipeError:
            return False
        return True

    # ------------------------------------------------------------ quality

    def predictions(self, worker: Worker, data: Dataset) -> Array:
        """(n, ...) what metrics read of that worker's answers."""
        return data.predictions(worker.call(session.answers, data.requests, ANSWER_BATCH))

    def original_predictions(self, split: str) -> Array:
        """Recorded once. Raises DataError where the original itself answers with NaN."""

        def compute() -> Array:
            try:
                with self.opened(self.baseline.build, self.original.directory, (self.num_cores, 1)) as worker:
                    return self.predictions(worker, getattr(self.job.splits, split))
            except BuildError as error:
                raise DataError(f"the original cannot answer the {split} split: {error}") from error

        return self.store.once("answers", split, compute)

    def evidence(self, data: Dataset, original: Array, candidate: Array) -> Evidence:
        return Evidence(original=original, candidate=candidate, labels=data.labels, slices=data.slices)

    def race(self, worker: Worker, num_candidates: int) -> tuple[Evidence, str | None]:
        """Answers to ever more items of the search split, until a look rejects the build or all have been seen."""
        data, original = self.job.splits.search, self.original_predictions("search")
        race = Race(floors=self.job.floors, num_items=len(data), num_candidates=num_candidates)
        seen: list[Array] = []
        for start, stop in zip((0, *race.looks), race.looks, strict=False):
            seen.append(self.predictions(worker, data.take(np.arange(start, stop))))
            evidence = self.evidence(data.take(np.arange(stop)), original[:stop], np.concatenate(seen))
            if reason := race.reject(evidence):
                return evidence, reason
        return evidence, None

    @cached_property
    def alpha_share(self) -> float:
        """What the ledger leaves this run of its alpha on these items of `verify`. Raises DataError when they are used up."""
        items = [digest(item) for item in zip(*self.job.splits.verify.columns, strict=True)]
        run = self.store.once("run", "id", lambda: uuid4().hex)  # a run begun anew in the same folder is another run
        return Ledger(state_home() / "ledger.jsonl").spend(run, items)

    # ------------------------------------------------------------ time and money

    @cached_property
    def lengths(self) -> Array:
        """(n,) tokens of the requests of the search split: the lengths that traffic will have."""
        requests = self.job.splits.search.requests
        return self.store.once("lengths", "search", lambda: self.baseline_worker().call(session.lengths, requests))

    @property
    def reference(self) -> Shape:
        """The baseline's yardstick: one request of the traffic's median length."""
        return 1, int(np.median(self.lengths))

    @cached_property
    def reference_s(self) -> float:
        """Seconds that the yardstick takes, fixed once per run: every ratio to it becomes seconds by this one number."""

        def compute() -> float:
            worker = self.baseline_worker()
            return float(np.median([worker.call(session.time_round, [self.reference], 0.2)[0] for _ in range(5)]))

        return self.store.once("reference", "seconds", compute)

    @property
    def yardstick(self) -> Yardstick:
        return Yardstick(worker=self.baseline_worker(), shape=self.reference, expected_s=self.reference_s)

    def time(self, worker: Worker, shapes: Sequence[Shape], layout: Layout) -> ServiceTimes:
        return measure(
            worker,
            self.yardstick,
            shapes=shapes,
            layout=layout,
            joules=self._joules,
        )

    @cached_property
    def _meter(self) -> Meter | None:
        """The sensor that reads this machine's energy; None where there is none, and energy is modelled."""
        meter = energy_meter(self.device)
        return meter if meter is not None and meter.measured else None

    @property
    def _joules(self) -> Callable[[], float] | None:
        meter = self._meter
        return None if meter is None else lambda: meter.energy_j(self.device, busy_core_s=0.0, elapsed_s=0.0)

    @cached_property
    def tariff(self) -> Tariff:
        return read_tariff(self.job.prices, self.device)

    @cached_property
    def demand(self) -> Demand:
        """By the share, a single stream of no stated volume is priced for as many requests as the yardstick answers.

        Otherwise each deployment's month would hold another number of requests, and two bills could not be compared.
        """
        demand = demand_of(self.job.traffic)
        if demand.requests_per_month is None and self.job.prices.mode == "share":
            return replace(demand, requests_per_month=SECONDS_PER_MONTH / self.reference_s)
        return demand

    def price_of(self, trial: Trial) -> PriceOf:
        """How a simulated deployment of that trial's build is priced."""
        return lambda *simulated: price(self.usage_of(trial, *simulated), self.demand, self.tariff)

    def usage_of(self, trial: Trial, deployment: Deployment, simulated: Simulated, capacity_per_s: float) -> Usage:
        busy_s = simulated.busy_s_per_request / deployment.streams
        watts = service_of(trial, deployment).watts
        return Usage(
            busy_s=busy_s,
            vcpus=deployment.threads * deployment.streams,
            peak_bytes=trial.peak_bytes,
            capacity_per_s=capacity_per_s,
            joules=None if watts is None else watts * busy_s,
            joules_source="" if self._meter is None else self._meter.describe(self.device),
        )

    # ------------------------------------------------------------ telling

    def stage(self, name: str) -> None:
        self.progress("stage", {"name": name} | ({"left_s": self.search_time_left_s()} if name == "search" else {}))

    def tried(self, trial: Trial, best_usd: float) -> None:
        candidate = trial.candidate
        facts = {"label": str(trial.build), "seconds": trial.seconds, "left_s": self.search_time_left_s()}
        if candidate.rejected is not None:
            self.progress("trial", facts | {"rejected": f"{candidate.rejected.stage}: {candidate.rejected.reason}"})
        elif candidate.cost is not None:
            self.progress("trial", facts | {"usd_per_million": candidate.cost.usd_per_million})
            if candidate.cost.usd_per_million <= best_usd:
                self.progress("best", {"label": str(candidate.deployment), "usd_per_million": best_usd})


def service_of(trial: Trial, deployment: Deployment) -> ServiceModel:
    """The fitted service times of that deployment's layout of the cores."""
    layout = deployment.threads, deployment.streams
    return next(service for service in trial.services if (service.threads, service.streams) == layout)


def state_home() -> Path:
    """Where what outlives a run is kept: the machine's ceilings, and the ledger of alpha that was spent."""
    home = os.environ.get("FARTHING_HOME")
    path = Path(home) if home else Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "farthing"
    path.mkdir(parents=True, exist_ok=True)
    return path
