"""How many replicas a rate needs, and what one replica needs, from what was measured; each figure says where it comes from."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from farthing.errors import ArtifactError, JobError
from farthing.results import Cost, Measurement
from farthing.types import Deployment
from farthing.units import MILLION, SECONDS_PER_MONTH, mib, ms

# What answers HTTP beside the model is one process with one event loop. Measured with `farthing serve`, an encoder of
# sentences, single requests over one connection, 2 busy cores: docs/design/014-beyond-one-machine.md.
FRONT_S_PER_REQUEST = 1.7e-3
FRONT_BYTES = 72.0 * 2**20
MEMORY_HEADROOM = 0.5
PEAK_TO_PLAN = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoned:
    """A value and, in a few words, where it comes from."""

    value: Any
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the replicas together must carry. None: what the plan was made for, and PEAK_TO_PLAN times that."""

    rate_per_s: float | None = None
    peak_per_s: float | None = None
    headroom: float = 0.2  # share of a replica's capacity kept free
    spare: int = 0  # replicas beyond the need
    memory_bytes: float | None = None  # of the process with the model; None: as measured

    def __post_init__(self) -> None:
        for name in ("rate_per_s", "peak_per_s", "memory_bytes"):
            value = getattr(self, name)
            if value is not None and not (value > 0.0 and math.isfinite(value)):
                raise JobError(f"{name} = {value:g} must be positive and finite")
        if not 0.0 <= self.headroom < 1.0:
            raise JobError(f"headroom = {self.headroom:g} must be at least 0 and below 1")
        if self.spare < 0:
            raise JobError(f"spare = {self.spare} must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of one replica: a process with the model (`threads x streams`) and the process that answers HTTP before it."""

    cpus: Reasoned
    cpus_limit: Reasoned
    model_bytes: Reasoned  # past which the process with the model is replaced
    memory_bytes: Reasoned
    capacity_per_s: Reasoned
    min_replicas: Reasoned
    max_replicas: Reasoned
    busy_share: Reasoned  # of its streams' time, to aim at
    busy_streams: Reasoned  # of one replica, in the mean, to aim at
    waiting: Reasoned  # requests in one replica's queue that call for another replica
    ongoing: Reasoned  # requests in one replica, waiting or running, to aim at
    most_ongoing: Reasoned


def size(deployment: Deployment, figures: Iterable[Measurement], cost: Cost | None, load: Load) -> Size:
    """By Little's law, L = rate * time: u * streams streams are busy when a replica works at the share u of its capacity.

    Raises ArtifactError where a figure is missing, JobError for a load that cannot be.
    """
    known = {figure.name: figure for figure in figures}
    capacity = _capacity(deployment, known, cost)
    share = 1.0 - load.headroom
    least, most = _replicas(deployment, cost, load, capacity)
    model = _model_bytes(known, load)
    cpus = deployment.threads * deployment.streams
    front = min(1.0, capacity.value * FRONT_S_PER_REQUEST)
    layout = f"{deployment.streams} stream(s) x {deployment.threads} thread(s)"
    both = deployment.streams * deployment.batch_size
    return Size(
        cpus=Reasoned(
            value=cpus + front,
            reason=f"{layout}, and {front:.2g} for HTTP: {capacity.value:.4g}/s x {ms(FRONT_S_PER_REQUEST):g} ms",
        ),
        cpus_limit=Reasoned(value=cpus + 1, reason=f"{layout}, and the one thread that answers HTTP: no more can run"),
        model_bytes=model,
        memory_bytes=Reasoned(
            value=model.value + FRONT_BYTES * (1.0 + MEMORY_HEADROOM),
            reason=f"{mib(model.value):.0f} MiB for the model; {mib(FRONT_BYTES):.0f} MiB for HTTP, {MEMORY_HEADROOM:.0%} over",
        ),
        capacity_per_s=capacity,
        min_replicas=least,
        max_replicas=most,
        busy_share=Reasoned(value=share, reason=f"{load.headroom:.0%} of a replica are kept free"),
        busy_streams=Reasoned(
            value=deployment.streams * share,
            reason=f"Little's law: {deployment.streams} stream(s), {share:.0%} of the time",
        ),
        waiting=Reasoned(value=both, reason=f"one more full batch of {deployment.batch_size} for each of its streams"),
        ongoing=_ongoing(deployment, capacity.value, share),
        most_ongoing=Reasoned(
            value=2 * both, reason=f"{deployment.streams} batches of {deployment.batch_size}, and the next ones"
        ),
    )


def rate_of(cost: Cost | None) -> float | None:
    """Mean requests per second that a bill was made for: usd_per_month / usd_per_million counts its requests."""
    if cost is None or not cost.usd_per_million > 0.0:
        return None
    return cost.usd_per_month / cost.usd_per_million * MILLION / SECONDS_PER_MONTH


def _capacity(deployment: Deployment, known: dict[str, Measurement], cost: Cost | None) -> Reasoned:
    """Requests per second of one replica whose streams are all busy: the least of what was seen, since a queue that was
    thought to be shorter than it is calls for help too late.
    """
    streams, vcpus = deployment.streams, deployment.threads * deployment.streams
    seen = [
        Reasoned(value=1.0 / FRONT_S_PER_REQUEST, reason=f"HTTP takes {ms(FRONT_S_PER_REQUEST):g} ms of one core a request")
    ]
    if (found := known.get("throughput_per_s")) is not None:
        seen.append(Reasoned(value=found.value, reason="throughput_per_s, measured"))
    busy = next((line.quantity for line in cost.lines if line.unit == "vCPU-second"), 0.0) if cost else 0.0
    if busy > 0.0:
        seen.append(
            Reasoned(value=vcpus / busy * MILLION, reason=f"the bill's {ms(busy / MILLION):.3g} ms of a vCPU a request")
        )
    if (found := known.get("busy_s_per_request")) is not None and found.value > 0.0:
        reason = f"{streams} stream(s), {ms(found.value):.3g} ms of one a request in the driven load"
        seen.append(Reasoned(value=streams / found.value, reason=reason))
    if len(seen) == 1 and (found := known.get("batch_s")) is not None:
        reason = f"one batch of {deployment.batch_size} in {ms(found.value):.3g} ms, one at a time"
        seen.append(Reasoned(value=deployment.batch_size / found.value, reason=reason))
    if len(seen) == 1:
        raise ArtifactError("the artifact holds no time of a request: pack it again with this version of farthing")
    return min(seen, key=lambda each: float(each.value))


def _replicas(deployment: Deployment, cost: Cost | None, load: Load, capacity: Reasoned) -> tuple[Reasoned, Reasoned]:
    """The plan's own for its own rate; ceil(rate / (capacity * (1 - headroom))) for any other."""
    free_per_s = capacity.value * (1.0 - load.headroom)
    sized = f"{free_per_s:.4g}/s each: {load.headroom:.0%} of {capacity.value:.4g}/s kept free; {capacity.reason}"
    spare = f", and {load.spare} spare" if load.spare else ""
    if load.rate_per_s is not None:
        least = math.ceil(load.rate_per_s / free_per_s)
        why = f"{load.rate_per_s:g}/s at {sized}"
    else:
        least, why = deployment.replicas, "as planned"
    planned = load.rate_per_s or rate_of(cost)
    if load.peak_per_s is not None and planned is not None and load.peak_per_s < planned:
        raise JobError(
            f"a peak of {load.peak_per_s:g}/s is below the mean of {planned:.4g}/s that the plan carries: give a rate too"
        )
    if load.peak_per_s is None and planned is None:
        peak, told = least * PEAK_TO_PLAN * free_per_s, f"{PEAK_TO_PLAN:g} times the least; no peak was given"
    elif load.peak_per_s is None:
        peak, told = PEAK_TO_PLAN * (planned or 0.0), f"{PEAK_TO_PLAN:g} times {planned:.4g}/s, as no peak was given; {sized}"
    else:
        peak, told = load.peak_per_s, f"a peak of {load.peak_per_s:g}/s at {sized}"
    most = max(least, math.ceil(round(peak / free_per_s, 6)))
    return (
        Reasoned(value=least + load.spare, reason=why + spare),
        Reasoned(value=most + load.spare, reason=told + spare),
    )


def _model_bytes(known: dict[str, Measurement], load: Load) -> Reasoned:
    measured = known.get("peak_bytes")
    if load.memory_bytes is not None:
        peak, told = load.memory_bytes, "as given"
    elif measured is not None:
        peak, told = measured.value, "peak_bytes, measured after the load"
    else:
        raise ArtifactError("the artifact holds no peak_bytes: say how much memory the model takes, --memory-gib 2")
    return Reasoned(value=peak * (1.0 + MEMORY_HEADROOM), reason=f"{mib(peak):.0f} MiB ({told}), {MEMORY_HEADROOM:.0%} over")


def _ongoing(deployment: Deployment, capacity_per_s: float, share: float) -> Reasoned:
    """L = u s b + r min(d, (b - 1) / r) / 2: those in the model, and those that wait in the mean half the time that a batch
    stays open; u share, s streams, b batch_size, d batch_delay_s, r = u * capacity. (Little 1961, L = rate * time.)
    """
    rate = capacity_per_s * share
    running = share * deployment.streams * deployment.batch_size
    filling = rate * min(deployment.batch_delay_s, (deployment.batch_size - 1) / rate) / 2.0
    reason = f"Little's law at {rate:.4g}/s: {running:.3g} in the model, {filling:.3g} waiting for their batch to fill"
    return Reasoned(value=running + filling, reason=reason)
