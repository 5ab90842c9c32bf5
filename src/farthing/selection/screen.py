"""A build's deployments screened: each is simulated under the job's traffic and priced; the cheapest within the SLO wins."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from farthing.batching import BatchPolicy
from farthing.results import Cost, Rejected, ServiceModel
from farthing.selection.simulation import Simulated, meets, simulate, simulate_offline, simulate_single_stream
from farthing.selection.space import deployments
from farthing.traffic import arrivals, rate_per_s
from farthing.types import Array, Build, Deployment, Job, Slo

NUM_SIMULATED = 1500
MOST_REPLICAS = 256
CAPACITY_STEPS = 7
MOST_UNTOLD = 0.05  # of the cost: a fit that is worse than this still orders deployments by cost
SAFE_SHARE = 0.7  # of a ceiling that a simulated latency may take: under load, real ones came out up to 1.3 times as long

PriceOf = Callable[[Deployment, Simulated, float], Cost]  # deployment, its simulation, requests/s one replica carries


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    deployment: Deployment
    simulated: Simulated
    capacity_per_s: float  # requests that one replica carries
    cost: Cost


def best_deployment(
    build: Build, services: Sequence[ServiceModel], job: Job, lengths: Array, price_of: PriceOf
) -> Screened | Rejected:
    """The cheapest deployment of `build` whose simulated latencies stay under the SLO's ceilings; else why none does.

    Of those whose cost the fit of service times cannot tell from the cheapest, the one with the smallest batches: the fit knows
    no cost of a larger one, and a batch that has outgrown the caches has some.
    """
    varied = len(set(lengths.tolist())) > 1
    options = [
        (deployment, service)
        for service in services
        for deployment in deployments(build, job, threads=service.threads, streams=service.streams, varied_lengths=varied)
    ]
    if job.prices.mode == "whole_machines":
        options = [(d, s) for d, s in options if d.batch_delay_s == 0]  # at capacity the queue fills batches by itself
    for share in (SAFE_SHARE, 1.0):
        safer = replace(job, slo=tightened(job.slo, share))
        found = [
            (s, service.relative_error)
            for d, service in options
            if (s := screen(d, service, safer, lengths, price_of)) is not None
        ]
        if found:
            return _smallest_batch(found)
    return Rejected(stage="slo", reason=_nearest(options, job, lengths))


def _smallest_batch(found: Sequence[tuple[Screened, float]]) -> Screened:
    cheapest, error = min(found, key=lambda pair: pair[0].cost.usd_per_million)
    enough = cheapest.cost.usd_per_million * (1 + min(error, MOST_UNTOLD))
    alike = [s for s, _ in found if s.cost.usd_per_million <= enough]
    smallest = min(s.deployment.batch_size for s in alike)
    return min(
        (s for s in alike if s.deployment.batch_size == smallest),
        key=lambda s: (s.cost.usd_per_million, float(np.percentile(s.simulated.latencies_s, 99))),
    )


def tightened(slo: Slo, share: float) -> Slo:
    """The same ceilings, times `share`: what a simulation must hold, so that the real load does."""
    tight = (None if s is None else s * share for s in (slo.latency_p50_s, slo.latency_p95_s, slo.latency_p99_s))
    p50_s, p95_s, p99_s = tight
    return Slo(latency_p50_s=p50_s, latency_p95_s=p95_s, latency_p99_s=p99_s)


def screen(deployment: Deployment, service: ServiceModel, job: Job, lengths: Array, price_of: PriceOf) -> Screened | None:
    """The deployment simulated and priced, with the fewest replicas that hold the SLO; None if no number of them does."""
    policy = BatchPolicy(batch_size=deployment.batch_size, delay_s=deployment.batch_delay_s, bucketing=deployment.bucketing)
    sample = lengths[np.random.default_rng(job.seed).integers(len(lengths), size=NUM_SIMULATED)]
    if job.traffic.scenario == "server":
        return _screen_server(deployment, service, policy, job, sample, price_of)
    if job.traffic.scenario == "offline":
        simulated = simulate_offline(service, policy, sample)
    else:
        simulated = simulate_single_stream(service, sample)
        if not meets(simulated, job.slo.ceilings()):
            return None
    rate = len(sample) / simulated.elapsed_s
    return _priced(deployment, simulated, rate, price_of)


def replicas_for(service: ServiceModel, policy: BatchPolicy, job: Job, sample: Array) -> tuple[int, Simulated] | None:
    """The fewest equal replicas that carry the job's rate within the SLO, and one of them simulated."""
    rate = rate_per_s(job.traffic)
    assert rate is not None
    replicas = max(1, math.ceil(rate * _least_busy_s(service, policy, sample) / service.streams))
    while replicas <= MOST_REPLICAS:
        simulated = _at_rate(service, policy, job, sample, rate / replicas)
        if meets(simulated, job.slo.ceilings()) and simulated.utilization(service.streams) < 1:
            return replicas, simulated
        if meets_never(service, job, sample):
            return None
        replicas = math.ceil(replicas * 1.25) if replicas > 3 else replicas + 1
    return None


def meets_never(service: ServiceModel, job: Job, sample: Array) -> bool:
    """Whether a request served alone, without any queue, is already slower than a ceiling."""
    return not meets(simulate_single_stream(service, sample), job.slo.ceilings())


def capacity_per_s(service: ServiceModel, policy: BatchPolicy, job: Job, sample: Array) -> float:
    """The largest rate that one replica carries within the SLO, by bisection between idle and saturation."""
    low, high = 0.0, 1.0 / (_least_busy_s(service, policy, sample) / service.streams)
    for _ in range(CAPACITY_STEPS):
        middle = (low + high) / 2
        simulated = _at_rate(service, policy, job, sample, middle)
        held = meets(simulated, job.slo.ceilings()) and simulated.utilization(service.streams) < 1
        low, high = (middle, high) if held else (low, middle)
    return low


def _screen_server(
    deployment: Deployment, service: ServiceModel, policy: BatchPolicy, job: Job, sample: Array, price_of: PriceOf
) -> Screened | None:
    if meets_never(service, job, sample):
        return None
    if job.prices.mode == "whole_machines":
        capacity = capacity_per_s(service, policy, job, sample)
        if capacity == 0.0:
            return None
        simulated = _at_rate(service, policy, job, sample, min(capacity, rate_per_s(job.traffic) or capacity))
        return _priced(deployment, simulated, capacity, price_of)
    found = replicas_for(service, policy, job, sample)
    if found is None:
        return None
    replicas, simulated = found
    rate = (rate_per_s(job.traffic) or 0.0) / replicas
    return _priced(replace(deployment, replicas=replicas), simulated, rate, price_of)


def _priced(deployment: Deployment, simulated: Simulated, capacity_per_s: float, price_of: PriceOf) -> Screened:
    cost = price_of(deployment, simulated, capacity_per_s)
    return Screened(deployment=deployment, simulated=simulated, capacity_per_s=capacity_per_s, cost=cost)


def _at_rate(service: ServiceModel, policy: BatchPolicy, job: Job, sample: Array, rate: float) -> Simulated:
    return simulate(service, policy, arrivals(job.traffic, len(sample), rate, job.seed), sample)


def _least_busy_s(service: ServiceModel, policy: BatchPolicy, sample: Array) -> float:
    """Seconds of one stream per request at full batches of the mean length: what saturation needs."""
    return service.seconds(policy.batch_size, float(sample.mean())) / policy.batch_size


def _nearest(options: Sequence[tuple[Deployment, ServiceModel]], job: Job, lengths: Array) -> str:
    fastest = min((simulate_single_stream(s, lengths) for _, s in options), key=lambda s: float(np.median(s.latencies_s)))
    ceilings = ", ".join(f"p{p:g} <= {s * 1e3:g} ms" for p, s in job.slo.ceilings())
    alone = ", ".join(f"p{p:g} {np.percentile(fastest.latencies_s, p) * 1e3:.2f} ms" for p, _ in job.slo.ceilings())
    return f"no deployment holds {ceilings}: served alone, without a queue, the fastest has {alone}"
