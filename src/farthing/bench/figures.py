"""What a run of the load generator says: percentiles with intervals, goodput, what failed, and whether to believe it."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, fields

from hdrh.histogram import HdrHistogram

from farthing.bench.client import OUT_OF_RESOURCES
from farthing.bench.load import Load
from farthing.bench.worker import Tally, kind
from farthing.errors import LoadVoid
from farthing.percentiles import interval_ranks, samples_needed
from farthing.traffic import check_offered
from farthing.units import MILLION, SECONDS_PER_HOUR
from farthing.wording import milliseconds, percent, plain, usd

SCHEMA = "farthing.bench/1"
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
SLO_SHARE = 0.99  # of all that was offered must be answered well in time: a p99 that failures cannot hide from
WAITED_SHARE = 0.01  # of requests that found every connection busy; above it the load was in part a closed loop


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    p: float
    value_s: float
    low_s: float
    high_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    p50_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """What was sent in one second of the run, by what became of it."""

    good: int
    shed: int
    failed: int
    slowest_s: float | None  # good answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One rate, driven. `goodput_per_s` counts good answers in time (all good ones where there is no SLO)."""

    rate_per_s: float
    offered_per_s: float
    duration_s: float
    num_sent: int
    num_good: int
    num_in_time: int
    num_shed: int
    failures: dict[str, int]  # by HTTP status or cause; 429 and 503 are not in here
    percentiles: tuple[Percentile, ...]  # of good answers; one that these samples cannot support is left out
    max_s: float | None
    goodput_per_s: float
    share_in_time: float
    slo_kept: bool | None  # None: no SLO, or too few requests to say
    lag: Lag
    num_waited: int
    num_connections: int
    generator_cpu_share: float  # of one core, of the busiest possible: all processes together, over the whole run
    void: str | None  # why this run says nothing
    usd_per_million: float | None  # good answers in time, at this load
    timeline: tuple[Second, ...]
    histogram: str  # of the latencies of good answers in microseconds: HdrHistogram V2, compressed, base64


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """All runs in the order they were driven; in a sweep the knee is the last rate that was carried."""

    runs: tuple[Run, ...]
    knee: Run | None = None
    stopped: str | None = None  # why a sweep ended


def figures(load: Load, tally: Tally) -> Run:
    num_sent = tally.lag.get_total_count()
    counts = Counter[str]()
    for outcome, number in tally.outcomes.items():
        counts[kind(outcome)] += number
    percentiles = _percentiles(tally.latency)
    lag = Lag(**{name: _at(tally.lag, p) for name, p in (("p50_s", 50), ("p99_s", 99), ("max_s", 100))})
    share = tally.num_in_time / num_sent
    kept = None if load.slo_p99_s is None or num_sent < samples_needed(99) else share >= SLO_SHARE
    answering_s = load.duration_s if load.slo_p99_s else max(load.duration_s, tally.ended_s - load.warmup_s)
    goodput_per_s = tally.num_in_time / answering_s
    return Run(
        rate_per_s=load.rate_per_s,
        offered_per_s=num_sent / load.duration_s,
        duration_s=load.duration_s,
        num_sent=num_sent,
        num_good=counts["good"],
        num_in_time=tally.num_in_time,
        num_shed=counts["shed"],
        failures={name: number for name, number in sorted(tally.outcomes.items()) if kind(name) == "failed"},
        percentiles=percentiles,
        max_s=tally.latency.get_max_value() / 1e6 if counts["good"] else None,
        goodput_per_s=goodput_per_s,
        share_in_time=share,
        slo_kept=kept,
        lag=lag,
        num_waited=tally.num_waited,
        num_connections=tally.num_opened,
        generator_cpu_share=tally.cpu_s / max(tally.ended_s, load.warmup_s + load.duration_s),
        void=_void(load, tally, lag, kept),
        usd_per_million=_usd_per_million(load, goodput_per_s),
        timeline=_timeline(tally),
        histogram=tally.latency.encode().decode(),
    )


def _void(load: Load, tally: Tally, lag: Lag, kept: bool | None) -> str | None:
    """The rule of `traffic.check_offered`, and what the generator ran out of.

    Waiting for a connection counts as latency. So it can make a run look worse than the offered load would, or hide that it
    would be; a broken SLO stays broken, anything else that such a run says is void.
    """
    num_sent = tally.lag.get_total_count()
    if number := tally.outcomes[OUT_OF_RESOURCES]:
        return f"void: the generator had no file descriptor or port left for {number} requests: lower the rate or connections"
    try:
        check_offered(
            intended_s=tally.intended_s[1] - tally.intended_s[0],
            sent_s=tally.sent_s[1] - tally.sent_s[0],
            lag_p99_s=lag.p99_s,
            latency_p99_s=_at(tally.latency, 99),
            ceiling_s=load.slo_p99_s or 0.0,
        )
    except LoadVoid as error:
        return str(error)
    if kept is not False and tally.num_waited > WAITED_SHARE * num_sent:
        return (
            f"void: {tally.num_waited} of {num_sent} requests found all {load.connections} connections busy, so the loop was "
            "not open: allow more connections, or lower the rate"
        )
    return None


def _percentiles(histogram: HdrHistogram) -> tuple[Percentile, ...]:
    found, n = [], histogram.get_total_count()
    for p in PERCENTILES:
        if n >= samples_needed(p):
            value, low, high = (_at(histogram, 100 * rank / n) for rank in interval_ranks(n, p))
            found.append(Percentile(p=p, value_s=value, low_s=low, high_s=high))
    return tuple(found)


def _at(histogram: HdrHistogram, p: float) -> float:
    return float(histogram.get_value_at_percentile(p)) / 1e6


def _timeline(tally: Tally) -> tuple[Second, ...]:
    last = max((second for second, _ in tally.timeline), default=-1)
    return tuple(
        Second(
            good=tally.timeline[second, "good"],
            shed=tally.timeline[second, "shed"],
            failed=tally.timeline[second, "failed"],
            slowest_s=tally.slowest_s.get(second),
        )
        for second in range(last + 1)
    )


def _usd_per_million(load: Load, goodput_per_s: float) -> float | None:
    """usd_per_hour x machines / 3600 / goodput x 10^6: whole machines, whatever of them is idle."""
    if load.usd_per_hour is None or not goodput_per_s:
        return None
    return load.usd_per_hour * load.machines / SECONDS_PER_HOUR / goodput_per_s * MILLION


def document(load: Load, done: Bench) -> str:
    """Everything, as JSON; docs/bench.md tells each key."""
    asked = {field.name: getattr(load, field.name) for field in fields(load) if field.name != "bodies"}
    asked |= {"trace": None if load.trace is None else str(load.trace), "headers": [name for name, _ in load.headers]}
    asked["num_bodies"] = len(load.bodies)
    written = {"schema": SCHEMA, "load": asked, "stopped": done.stopped, "knee_per_s": done.knee and done.knee.rate_per_s}
    return json.dumps(written | {"runs": [asdict(run) for run in done.runs]}, indent=1) + "\n"


def table(load: Load, done: Bench) -> str:
    """For the terminal: a sweep's rates one a line, then the run that counts (the knee, or the last one) in full."""
    counts = done.knee or done.runs[-1]
    lines = [] if done.stopped is None else [line(run) for run in done.runs] + [f"Knee: {_knee(done)}; {done.stopped}", ""]
    return "\n".join([*lines, *_in_full(load, counts)])


def line(run: Run) -> str:
    p99 = next((milliseconds(found.value_s) for found in run.percentiles if found.p == 99), "too few")
    verdict = "void" if run.void else {True: "kept", False: "broken", None: "-"}[run.slo_kept]
    failed = sum(run.failures.values())
    return (
        f"{plain(run.offered_per_s):>8}/s  goodput {plain(run.goodput_per_s):>8}/s  p99 {p99:>8}  "
        f"shed {run.num_shed}  errors {failed}  SLO {verdict}"
    )


def _knee(done: Bench) -> str:
    return "none found" if done.knee is None else f"{plain(done.knee.rate_per_s)} requests/s"


def _in_full(load: Load, run: Run) -> list[str]:
    lag = run.lag
    within = "" if load.slo_p99_s is None else f" within {milliseconds(load.slo_p99_s)}"
    rows = [
        ("offered", f"{plain(run.offered_per_s)}/s for {plain(run.duration_s)} s, {load.arrivals}: {run.num_sent:,} requests"),
        ("answered", f"{run.num_good:,} ({percent(run.num_good / run.num_sent)}), shed {run.num_shed:,} (429, 503)"),
        ("errors", ", ".join(f"{_cause(name)}: {number:,}" for name, number in run.failures.items()) or "none"),
        ("goodput", f"{plain(run.goodput_per_s)}/s{within}"),
        *[(f"p{found.p:g}", _interval(found)) for found in run.percentiles],
        *[(f"p{p:g}", f"not told, it needs {samples_needed(p):,} answers") for p in PERCENTILES[len(run.percentiles) :][:1]],
        ("max", "no answers" if run.max_s is None else milliseconds(run.max_s)),
        (
            "send lag",
            f"p50 {milliseconds(lag.p50_s)}, p99 {milliseconds(lag.p99_s)}, max {milliseconds(lag.max_s)}",
        ),
    ]
    if load.slo_p99_s is not None:
        rows.append(("SLO", f"{_verdict(run)}: {percent(run.share_in_time)} of what was offered, answered{within}"))
    if run.usd_per_million is not None and load.usd_per_hour is not None:
        paid = f"{usd(load.usd_per_hour)} an hour x {load.machines}"
        rows.append(("cost", f"{usd(run.usd_per_million)} per million good answers{within}, at {paid}"))
    if run.void:
        rows.append(("VOID", run.void.removeprefix("void: ")))
    return [f"{name:>9}  {text}" for name, text in rows]


def _interval(found: Percentile) -> str:
    return f"{milliseconds(found.value_s)} [{milliseconds(found.low_s)}, {milliseconds(found.high_s)}]"


def _cause(name: str) -> str:
    return f"HTTP {name}" if name.isdigit() else name


def _verdict(run: Run) -> str:
    if run.slo_kept is None:
        return f"not judged, a p99 needs {samples_needed(99)} requests"
    return "kept" if run.slo_kept else "broken"
