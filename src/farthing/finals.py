"""After the search: the finalists are named, certified on `verify`, and driven under real load."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from farthing import codec
from farthing.batching import BatchPolicy
from farthing.certification.finalists import certify_finalists, name_finalists
from farthing.errors import BuildError, LoadVoid
from farthing.measurement import load, session
from farthing.measurement.workers import Worker
from farthing.percentiles import latency_figures, samples_needed
from farthing.results import Candidate, Certificate, Measurement, Rejected, Trial
from farthing.selection.screen import SAFE_SHARE, best_deployment, tightened
from farthing.traffic import arrivals, rate_per_s
from farthing.trial import baseline_trial, single, usd
from farthing.types import Array, Deployment
from farthing.workshop import Workshop

DRIVE_S = 12.0  # of intended sending, at least
MOST_DRIVE_S = 40.0  # a slower rate is driven harder, so that p99 has samples enough
OFFLINE_ITEMS = 2000  # at most
OFFLINE_S = 10.0  # of one run, about: a slow deployment answers fewer items
OFFLINE_WARM = 64  # items that warm it up, and say how fast it is
RUNS_OF_A_VOID_LOAD = 3
LATENCIES_KEPT = 2000


# ---------------------------------------------------------------- finalists and their certificates


def finalists(shop: Workshop, trials: Sequence[Trial]) -> list[Trial]:
    """The trials that are cheaper than the baseline, at most three of them named before `verify` is opened; the cheapest first.

    The original's own build, deployed otherwise, loses nothing and needs no test: it stands by without taking a place.
    """
    cheaper = [t for t in trials if usd(t.candidate) < usd(baseline_trial(shop).candidate)]
    data, original = shop.job.splits.search, shop.original_predictions("search")
    survivors = {
        codec.digest(t.build): shop.evidence(
            data, original, shop.store.once("search answers", codec.digest(t.build), _recorded)
        )
        for t in sorted(cheaper, key=lambda t: usd(t.candidate))
        if t.build != shop.baseline.build
    }

    def names_of() -> tuple[str, ...]:
        num_verify = len(shop.job.splits.verify)
        return name_finalists(survivors, shop.job.floors, num_verify=num_verify, share=shop.alpha_share) if survivors else ()

    names = shop.store.once("finalists", "named", names_of)
    named = [t for t in cheaper if codec.digest(t.build) in names or t.build == shop.baseline.build]
    return sorted(named, key=lambda t: usd(t.candidate))


def certify(shop: Workshop, named: Sequence[Trial]) -> dict[str, tuple[Certificate, ...]]:
    """Certificates on `verify` by the build's digest, recorded once; the original has them too."""
    data, unchanged = shop.job.splits.verify, codec.digest(shop.baseline.build)
    tested = [trial for trial in named if trial.build != shop.baseline.build]

    def compute() -> dict[str, tuple[Certificate, ...]]:
        original = shop.original_predictions("verify")
        evidences = {unchanged: shop.evidence(data, original, original)}
        for trial in tested:
            assert trial.directory is not None
            with shop.opened(trial.build, trial.directory, (shop.num_cores, 1)) as worker:
                answers = shop.predictions(worker, data)
            evidences[codec.digest(trial.build)] = shop.evidence(data, original, answers)
        spends = tested or any(floor.minimum is not None for floor in shop.job.floors)
        return certify_finalists(
            evidences,
            shop.job.floors,
            original=unchanged,
            share=shop.alpha_share if spends else 1.0,
            seed=shop.job.seed,
        )

    return shop.store.once("certificates", "verify", compute)


# ---------------------------------------------------------------- driven load


def drive(
    shop: Workshop, baseline: Trial, named: Sequence[Trial], certificates: Mapping[str, tuple[Certificate, ...]]
) -> tuple[Candidate, list[Candidate]]:
    """The baseline and the certified finalists under real load, each recorded once; the others keep why they are out."""
    kept = _driven(shop, _judged(baseline, certificates[codec.digest(baseline.build)]))
    finals: list[Candidate] = []
    for trial in (_judged(trial, certificates[codec.digest(trial.build)]) for trial in named):
        if trial.build == baseline.build and any(c.rejected is None for c in finals):
            continue  # something cheaper has passed: nobody has to stand by
        finals.append(_driven_within(shop, trial) if trial.candidate.rejected is None else trial.candidate)
    return kept, finals


def _judged(trial: Trial, given: tuple[Certificate, ...]) -> Trial:
    rejected = trial.candidate.rejected or _uncertified(given)
    return replace(trial, candidate=replace(trial.candidate, certificates=given, rejected=rejected))


def _driven_within(shop: Workshop, trial: Trial) -> Candidate:
    """The build under load; where it misses a ceiling, once more in the cheapest deployment that is as much safer."""
    driven = _driven(shop, trial)
    if driven.rejected is None or driven.rejected.stage != "slo":
        return driven
    figures = [(s, driven.figure(f"latency_p{p:g}_s")) for p, s in shop.job.slo.ceilings()]
    share = SAFE_SHARE * min(ceiling_s / figure.value for ceiling_s, figure in figures if figure is not None)
    safer = replace(shop.job, slo=tightened(shop.job.slo, share))
    found = best_deployment(trial.build, trial.services, safer, shop.lengths, shop.price_of(trial))
    if isinstance(found, Rejected) or found.deployment == driven.deployment:
        return driven
    candidate = replace(trial.candidate, deployment=found.deployment, cost=found.cost)
    return _driven(shop, replace(trial, candidate=candidate))


def _driven(shop: Workshop, trial: Trial) -> Candidate:
    return shop.store.once("driven", codec.digest(trial.candidate.deployment), lambda: _drive(shop, trial))


def _uncertified(certificates: Sequence[Certificate]) -> Rejected | None:
    open_ones = [c for c in certificates if c.verdict != "PASS"]
    if not open_ones:
        return None
    worst = min(open_ones, key=lambda c: ("FAIL", "INCONCLUSIVE").index(c.verdict))
    where = f" in slice {worst.slice}" if worst.slice else ""
    if worst.minimum is None:
        found = f"the drop may be {worst.upper_bound:.4g}, allowed is {worst.max_drop:g}"
    else:
        found = f"it is {worst.candidate:.4g}, perhaps {worst.minimum - worst.upper_bound:.4g}; asked is {worst.minimum:g}"
    reason = f"{worst.verdict} on {worst.metric}{where}: {found}"
    if worst.verdict == "INCONCLUSIVE":
        reason += f"; about {worst.items_missing} more items would settle it"
    return Rejected(stage="certify", reason=reason)


def _drive(shop: Workshop, trial: Trial) -> Candidate:
    deployment, candidate = trial.candidate.deployment, trial.candidate
    assert trial.directory is not None
    try:
        with shop.opened(deployment.build, trial.directory, (deployment.threads, deployment.streams)) as worker:
            latencies_s, figures = _scenario(shop.job.traffic.scenario)(shop, worker, deployment)
            peak_bytes = worker.rss_bytes()
    except (LoadVoid, BuildError) as error:
        return replace(candidate, rejected=Rejected(stage="load", reason=str(error)))
    once = [single("peak_bytes", peak_bytes, "B", "resident memory of the worker after the driven load")]
    kept = sorted(latencies_s)[:: max(1, len(latencies_s) // LATENCIES_KEPT)]
    names = {f.name for f in (*figures, *once)}
    older = tuple(f for f in candidate.figures if f.name not in names)
    candidate = replace(candidate, figures=(*older, *figures, *once), latencies_s=tuple(float(s) for s in kept))
    return replace(candidate, rejected=candidate.rejected or _missed_ceiling(shop, candidate))


def _scenario(scenario: str) -> Callable[[Workshop, Worker, Deployment], tuple[Array, tuple[Measurement, ...]]]:
    return {"server": _drive_server, "offline": _drive_offline, "single_stream": _drive_single_stream}[scenario]


def _drive_server(shop: Workshop, worker: Worker, deployment: Deployment) -> tuple[Array, tuple[Measurement, ...]]:
    """One replica's share of the rate, open loop; at a rate so low that p99 would need longer than MOST_DRIVE_S, harder."""
    rate = (rate_per_s(shop.job.traffic) or 0.0) / deployment.replicas
    rate = max(rate, samples_needed(99) / MOST_DRIVE_S)
    num_requests = max(samples_needed(99) + 1, round(rate * DRIVE_S))
    send_at_s = arrivals(shop.job.traffic, num_requests, rate, shop.job.seed)
    ceiling_s = min((s for _, s in shop.job.slo.ceilings()), default=0.0)
    policy = BatchPolicy(batch_size=deployment.batch_size, delay_s=deployment.batch_delay_s, bucketing=deployment.bucketing)
    requests = _sample(shop, num_requests)
    worker.call(session.make_ready, deployment.batch_size)
    worker.call(session.answers, requests[:64], 1)
    for attempt in range(RUNS_OF_A_VOID_LOAD):
        try:
            run = load.drive(worker, requests, send_at_s, policy, timeout_s=shop.job.budget.trial_timeout_s).check(ceiling_s)
            break
        except LoadVoid as void:
            shop.store.record("void", str(void))
            if attempt == RUNS_OF_A_VOID_LOAD - 1:
                raise
    protocol = f"open loop, {rate:.4g} requests/s, {num_requests} requests, from the intended send time"
    busy_s = run.busy_s / num_requests
    return run.latencies_s, (
        *latency_figures(run.latencies_s.tolist(), protocol),
        single("busy_s_per_request", busy_s, "s", protocol),
    )


def _drive_offline(shop: Workshop, worker: Worker, deployment: Deployment) -> tuple[Array, tuple[Measurement, ...]]:
    requests = _sample(shop, min(OFFLINE_ITEMS, shop.job.traffic.num_items or OFFLINE_ITEMS))
    shape = deployment.batch_size, deployment.bucketing
    warm = requests[: max(OFFLINE_WARM, deployment.batch_size)]
    warm_s = [worker.call(load.run_offline, warm, *shape) for _ in range(2)]
    requests = requests[: max(len(warm), int(OFFLINE_S * len(warm) / warm_s[-1]))]
    seconds = [worker.call(load.run_offline, requests, *shape) for _ in range(3)]
    rates = [len(requests) / s for s in seconds]
    throughput = Measurement(
        name="throughput_per_s", value=float(np.median(rates)), unit="1/s", low=min(rates), high=max(rates),
        num_samples=len(rates), protocol=f"{len(requests)} requests at once, tokenizing included, median of runs",
    )  # fmt: skip
    return np.array([]), (throughput,)


def _drive_single_stream(shop: Workshop, worker: Worker, deployment: Deployment) -> tuple[Array, tuple[Measurement, ...]]:
    requests = _sample(shop, samples_needed(99) + 1)
    worker.call(load.run_single_stream, requests[:32])
    latencies_s = worker.call(load.run_single_stream, requests)
    return latencies_s, latency_figures(latencies_s.tolist(), f"closed loop, one request at a time, {len(requests)} requests")


def _sample(shop: Workshop, num_requests: int) -> list[tuple[object, ...]]:
    """Requests of the search split, drawn with the job's seed: the lengths that were simulated."""
    requests = shop.job.splits.search.requests
    drawn = np.random.default_rng(shop.job.seed).integers(len(requests), size=num_requests)
    return [requests[i] for i in drawn]


def _missed_ceiling(shop: Workshop, candidate: Candidate) -> Rejected | None:
    for p, ceiling_s in shop.job.slo.ceilings():
        figure = candidate.figure(f"latency_p{p:g}_s")
        if figure is not None and figure.value > ceiling_s:
            reached = f"{figure.value * 1e3:.1f} ms [{figure.low * 1e3:.1f}, {figure.high * 1e3:.1f}]"
            return Rejected(stage="slo", reason=f"under load p{p:g} was {reached}, over its ceiling of {ceiling_s * 1e3:g} ms")
    return None


def _recorded() -> Array:
    raise AssertionError("a trial with a cost has recorded its answers")
