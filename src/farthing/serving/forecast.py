"""forecast(): what a stream of requests would cost and how long it would take, by what the service has learned of itself."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from farthing.batching import BatchPolicy
from farthing.errors import DataError, JobError
from farthing.results import ServiceModel
from farthing.types import Array

if TYPE_CHECKING:
    from farthing.serving.version import Version

NUM_RATIOS = 200  # quantiles of what batches took over what the model said of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A batch is r (a + c b + d b n) seconds in the model, r one of `ratios`; its replica is held `between_s` longer."""

    a: float
    c: float
    d: float
    ratios: tuple[float, ...]
    between_s: float
    margin: float  # what batches take nearly for sure, over what the model says: who has less time left is refused
    front_s: float  # core-seconds of the process that answers HTTP, per request
    around_s: float  # core-seconds of all processes beside those in the model, per request
    threads: int
    streams: int  # of all replicas
    batch_size: int
    batch_delay_s: float
    bucketing: bool

    @classmethod
    def of(cls, version: "Version") -> "Learned | None":
        """None: nothing was answered yet."""
        times, receipt, deployment = version.scheduler.times, version.receipt, version.artifact.manifest.deployment
        if not times.ratios or not receipt.num_answered:
            return None
        a, c, d = times.theta
        front_s, model_s = time.process_time() - receipt.started_cpu_s, receipt.busy_s * deployment.threads
        if version.pool.is_inline:
            front_s = max(0.0, front_s - model_s)
            model_s = 0.0
        beside_s = max(0.0, front_s + version.pool.cpu_s - model_s)
        middles = (np.arange(NUM_RATIOS) + 0.5) / NUM_RATIOS
        return cls(
            a=a,
            c=c,
            d=d,
            ratios=tuple(float(value) for value in np.quantile(np.array(times.ratios), middles)),
            between_s=times.between_s,
            margin=version.scheduler.punctuality.takes.value,
            front_s=front_s / receipt.num_answered,
            around_s=beside_s / receipt.num_answered,
            threads=deployment.threads,
            streams=sum(replica.slots for replica in version.pool.replicas),
            batch_size=deployment.batch_size,
            batch_delay_s=deployment.batch_delay_s,
            bucketing=deployment.bucketing,
        )

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> "Learned":
        """The inverse of `facts`. Raises DataError for what is none."""
        if missing := [field.name for field in fields(cls) if field.name not in facts]:
            raise DataError(f"{', '.join(missing)}: missing; what is wanted is GET /v1/learned of a server that has answered")
        told = {field.name: facts[field.name] for field in fields(cls)}
        return cls(**told | {"ratios": tuple(told["ratios"])})

    def facts(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    latencies_s: Array  # of those that are answered, from arrival to answer
    share_refused: float  # since they could not be answered by their deadline
    busy_s_per_request: float  # answered: stream-seconds in the model, what the receipt is written for
    core_s_per_request: float  # answered: of all processes
    utilization: float  # of the replicas' streams, the model running or not

    def percentile_s(self, p: float) -> float:
        return float(np.percentile(self.latencies_s, p))


def forecast(learned: Learned, arrivals_s: Array, lengths: Array, *, deadline_s: float = math.inf, seed: int = 0) -> Forecast:
    """One queue before all streams, simulated as `optimize` simulates a deployment, with what was learned while serving.

    `arrivals_s` (n,) ascending and `lengths` (n,) in tokens; `deadline_s` of each request. Raises JobError where they do not
    fit together, or where nothing can be answered by that deadline.
    """
    from farthing.selection import simulation

    if len(arrivals_s) != len(lengths) or len(arrivals_s) < 2 or np.any(np.diff(arrivals_s) < 0):
        raise JobError(f"{len(arrivals_s)} arrivals and {len(lengths)} lengths: at least two of each, arrivals ascending")
    service = ServiceModel(
        coefficients=(learned.a, learned.c, learned.d, 0.0),
        relative_error=0.0,
        host_s=0.0,
        threads=learned.threads,
        streams=learned.streams,
    )
    policy = BatchPolicy(batch_size=learned.batch_size, delay_s=learned.batch_delay_s, bucketing=learned.bucketing)
    scatter = np.random.default_rng(seed).choice(np.array(learned.ratios), len(arrivals_s))
    known = simulation.Learned(scatter=scatter, between_s=learned.between_s, deadline_s=deadline_s, margin=learned.margin)
    done = simulation.simulate(service, policy, arrivals_s, lengths, known)
    held_s = done.busy_s + learned.between_s * done.num_batches
    answered = np.isfinite(done.latencies_s)
    if not answered.any():
        raise JobError(f"deadline_s = {deadline_s:g}: no request could be answered in so short a time")
    busy_s = done.busy_s / int(answered.sum())
    return Forecast(
        latencies_s=done.latencies_s[answered] + learned.front_s,
        share_refused=float(1.0 - answered.mean()),
        busy_s_per_request=busy_s,
        core_s_per_request=busy_s * learned.threads + learned.around_s + learned.front_s * (1.0 / answered.mean() - 1.0),
        utilization=held_s / (done.elapsed_s * learned.streams),
    )


def rate_at(learned: Learned, lengths: Array, utilization: float, arrivals_s: Array) -> float:
    """Requests per second at which these arrivals, scaled, keep the streams taken for that share of the time.

    By bisection: with batches, what a request takes falls as the rate rises. Raises JobError for a share that is none.
    """
    if not 0.0 < utilization < 1.0:
        raise JobError(f"utilization = {utilization:g} must be above 0 and below 1")
    unit = (arrivals_s - arrivals_s[0]) * (len(arrivals_s) / (arrivals_s[-1] - arrivals_s[0]))  # one a second
    alone_s = float(np.mean(learned.a + learned.c + learned.d * lengths)) * float(np.mean(learned.ratios)) + learned.between_s
    low, high = 0.0, 2.0 * learned.streams * learned.batch_size / alone_s
    while high - low > 1e-3 * high:
        rate = (low + high) / 2
        if forecast(learned, unit / rate, lengths).utilization < utilization:
            low = rate
        else:
            high = rate
    return math.sqrt(low * high)
