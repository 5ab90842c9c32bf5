"""One build brought through: transformed, raced for quality, timed beside the baseline, its deployments simulated, priced."""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from farthing import codec, workbench
from farthing.certification.bounds import quick_bounds
from farthing.certification.questions import questions
from farthing.errors import BuildError, DataError
from farthing.measurement import session
from farthing.measurement.service import drowned, fit_service
from farthing.measurement.workers import Worker
from farthing.results import (
    Candidate,
    Evidence,
    Measurement,
    Prediction,
    Rejected,
    ServiceModel,
    ServiceTimes,
    Trial,
    percentile,
)
from farthing.selection.screen import Screened, best_deployment, screen
from farthing.types import Array, Build, Deployment, Job, Pipeline, Slo
from farthing.workshop import NUM_CALIBRATION, Layout, Workshop

BATCHES_TIMED = {"cpu": (1, 8, 32), "cuda": (1, 32, 256)}
SEARCH_ALPHA = 0.05  # of each end of the interval of the drop on the search split


def try_build(shop: Workshop, build: Build, *, num_candidates: int) -> Trial:
    """Recorded once: a resumed run finds it in the store. Whatever a build does wrong is a `Rejected`, never an exception."""

    def compute() -> Trial:
        started = time.monotonic()
        trial = _attempt(shop, build, num_candidates)
        spent_s = time.monotonic() - started
        figure = single("trial_s", spent_s, "s", "learning, conversion, race and timing of this build, until it was judged")
        candidate = replace(trial.candidate, figures=(*trial.candidate.figures, figure))
        return replace(trial, candidate=candidate, seconds=spent_s)

    return shop.store.once("trial", codec.digest(build), compute)


def baseline_trial(shop: Workshop) -> Trial:
    """The baseline measured as it is run today: its own batching, all cores. Its candidate is rejected if it misses the SLO."""

    def compute() -> Trial:
        deployment = shop.baseline
        layout = deployment.threads, deployment.streams
        with shop.opened(deployment.build, shop.original.directory, layout) as worker:
            times = _time_layout(shop, worker, layout)
            peak_bytes = worker.rss_bytes()
        trial = Trial(
            build=deployment.build,
            candidate=Candidate(deployment=deployment),
            directory=shop.original.directory,
            times=(times,),
            services=(fit_service(times, shop.reference_s),),
            peak_bytes=peak_bytes,
        )
        figures = _figures(shop, shop.original, _identical(shop), peak_bytes)
        return replace(trial, candidate=_as_it_is(shop, trial, figures))

    return shop.store.once("trial", "baseline", compute)


def extend(shop: Workshop, trial: Trial, layout: Layout) -> Trial:
    """The same build timed under another layout of the cores."""
    assert trial.directory is not None
    with shop.opened(trial.build, trial.directory, layout) as worker:
        times = _time_layout(shop, worker, layout)
    return replace(trial, times=(*trial.times, times), services=(*trial.services, fit_service(times, shop.reference_s)))


def usd(candidate: Candidate) -> float:
    """USD per million requests; inf where it has no cost."""
    return candidate.cost.usd_per_million if candidate.cost is not None else math.inf


def screened(shop: Workshop, trial: Trial, deployment: Deployment, service: ServiceModel) -> Screened | None:
    """That very deployment simulated and priced with these service times; None if it cannot hold the SLO."""
    return screen(deployment, service, shop.job, shop.lengths, shop.price_of(trial))


def single(name: str, value: float, unit: str, protocol: str) -> Measurement:
    """A figure that was read once."""
    return Measurement(name=name, value=value, unit=unit, low=value, high=value, num_samples=1, protocol=protocol)


def artifact_bytes(pipeline: Pipeline) -> float:
    return float(sum(file.stat().st_size for file in pipeline.directory.rglob("*") if file.is_file()))


def too_large(name: str, value: float, limit: float | None) -> str | None:
    """Why a figure breaks the job's limit of that name; None where it does not."""
    return None if limit is None or value <= limit else f"{name} is {value:,.0f} and may be {limit:,.0f}"


def _attempt(shop: Workshop, build: Build, num_candidates: int) -> Trial:
    trial = Trial(build=build, candidate=Candidate(deployment=Deployment(build=build)))
    first, *others = _layouts(shop)
    stage = "transform"
    try:
        pipeline = _built(shop, build)
        trial = replace(trial, directory=pipeline.directory)
        if reason := too_large("artifact_bytes", artifact_bytes(pipeline), shop.job.limits.artifact_bytes):
            return _rejected(trial, "limit", reason)
        stage = "open"
        with shop.opened(build, pipeline.directory, first) as worker:
            stage = "race"
            evidence, reason = shop.race(worker, num_candidates)
            if reason:
                return _rejected(trial, stage, reason)
            shop.store.once("search answers", codec.digest(build), lambda: evidence.candidate)
            stage = "time"
            times = _time_layout(shop, worker, first)
            if reason := drowned(times, shop.reference_s):
                return _rejected(trial, stage, reason)
            trial = replace(
                trial,
                times=(times,),
                services=(fit_service(times, shop.reference_s),),
                peak_bytes=worker.rss_bytes(),
                convincing=_convincing(evidence, shop.job),
            )
        if reason := too_large("peak_bytes", trial.peak_bytes, shop.job.limits.peak_bytes):
            return _rejected(trial, "limit", reason)
        for layout in others:
            trial = extend(shop, trial, layout)
        return _judged(shop, trial, _figures(shop, pipeline, evidence, trial.peak_bytes))
    except BuildError as error:
        return _rejected(trial, stage, str(error))


def _layouts(shop: Workshop) -> list[Layout]:
    """How a trial uses the cores: what is billed by the share runs on one of them, whole machines use them all."""
    if shop.job.prices.mode == "share" or shop.num_cores == 1:
        return [(1, 1)]
    return [(1, shop.num_cores), (shop.num_cores, 1)]


def _built(shop: Workshop, build: Build) -> Pipeline:
    context = replace(shop.context, sensitivities=shop.profile.sensitivities)
    cache = shop.store.directory / "conversions"

    def make(directory: Path) -> Pipeline:
        built: Pipeline = shop.builder().call(workbench.build, shop.original, build, directory, context, cache)
        return built

    try:
        return shop.store.folder("builds", codec.digest(build), make)
    except DataError as error:  # what one method cannot be calibrated with leaves the others standing
        raise BuildError(str(error)) from error
    except BuildError:
        shop.dismiss_builder()
        raise


def _time_layout(shop: Workshop, worker: Worker, layout: Layout) -> ServiceTimes:
    times = shop.time(worker, _shapes(shop.lengths, BATCHES_TIMED[shop.device.kind]), layout)
    return replace(times, host_s=worker.call(session.host_s, shop.job.splits.search.requests[:NUM_CALIBRATION]))


def _shapes(lengths: Array, sizes: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Batches worth timing: few, but spread over batch size and the traffic's lengths."""
    if len(set(lengths.tolist())) == 1:
        return [(b, int(lengths[0])) for b in sizes]
    low, middle, high = (int(q) for q in np.quantile(lengths, (0.1, 0.5, 1.0)))
    small, medium, large = sizes
    return [(small, low), (small, high), (medium, middle), (medium, high), (large, low), (large, middle)]


def _judged(shop: Workshop, trial: Trial, figures: tuple[Measurement, ...]) -> Trial:
    """The trial with its cheapest deployment that holds the SLO; one core too slow for it, all cores are tried as well."""
    found = best_deployment(trial.build, trial.services, shop.job, shop.lengths, shop.price_of(trial))
    spread = (shop.num_cores, 1)
    if isinstance(found, Rejected) and spread not in [(s.threads, s.streams) for s in trial.services]:
        return _judged(shop, extend(shop, trial, spread), figures)
    if isinstance(found, Rejected):
        return replace(trial, candidate=replace(trial.candidate, figures=figures, rejected=found))
    candidate = Candidate(deployment=found.deployment, cost=found.cost, figures=figures, predictions=_expected(shop, found))
    return replace(trial, candidate=candidate)


def _as_it_is(shop: Workshop, trial: Trial, figures: tuple[Measurement, ...]) -> Candidate:
    found = screened(shop, trial, shop.baseline, trial.services[0])
    if found is not None:
        return Candidate(deployment=found.deployment, cost=found.cost, figures=figures, predictions=_expected(shop, found))
    without_slo = replace(shop.job, slo=Slo())
    found = screen(shop.baseline, trial.services[0], without_slo, shop.lengths, shop.price_of(trial))
    assert found is not None, "without ceilings, some number of replicas carries any rate"
    missed = Rejected(stage="slo", reason="the baseline itself misses a latency ceiling; it is priced without any")
    return Candidate(
        deployment=found.deployment, cost=found.cost, figures=figures, predictions=_expected(shop, found), rejected=missed
    )


def _identical(shop: Workshop) -> Evidence:
    answers = shop.original_predictions("search")
    return shop.evidence(shop.job.splits.search, answers, answers)


def _expected(shop: Workshop, found: Screened) -> tuple[Prediction, ...]:
    if shop.job.traffic.scenario == "offline":
        return ()
    model = "queue simulation with fitted service times"
    return tuple(
        Prediction(name=f"latency_p{p:g}_s", value=percentile(found.simulated.latencies_s, p), unit="s", model=model)
        for p in (50, 95, 99)
    )


def _rejected(trial: Trial, stage: str, reason: str) -> Trial:
    return replace(trial, candidate=replace(trial.candidate, rejected=Rejected(stage=stage, reason=reason)))


def _figures(shop: Workshop, pipeline: Pipeline, evidence: Evidence, peak_bytes: float) -> tuple[Measurement, ...]:
    return (
        _drop(evidence, shop.job),
        single("peak_bytes", peak_bytes, "B", "resident memory of the worker after its timed batches"),
        single("artifact_bytes", artifact_bytes(pipeline), "B", "files of the build"),
    )


def _convincing(evidence: Evidence, job: Job) -> bool:
    asked = [question for floor in job.floors for question in questions(evidence, floor)]
    return all(quick_bounds(q, SEARCH_ALPHA, job.seed).at(len(q))[1] < q.limit for q in asked)


def _drop(evidence: Evidence, job: Job) -> Measurement:
    """The drop of the first floor's metric on the search split: what the Pareto front is drawn with, no certificate."""
    question, *_ = questions(evidence, job.floors[0])
    low, high = quick_bounds(question, SEARCH_ALPHA, job.seed).at(len(question))
    return Measurement(
        name="drop", value=question.drop, unit=question.name, low=low, high=high, num_samples=len(question),
        protocol="search split, paired with the original",
    )  # fmt: skip
