"""How the table and the page write figures, deployments and promises, for people who have never seen farthing."""

import math
from collections.abc import Sequence

from farthing.results import Certificate
from farthing.types import Build, Deployment, Floor
from farthing.units import MILLION, SECONDS_PER_HOUR, mib, ms

MORE_MINUTES = "give the search more minutes"  # notes that end so are told in the terminal too


def name(deployment: Deployment) -> str:
    """The whole of it on one line: the build with its knobs, then how it is run."""
    return f"{deployment.build} [{settings(deployment)}]"


def short(build: Build) -> str:
    """`nncf_int8 + openvino`: without knobs."""
    return " + ".join(step.name for step in (*build.recipe, build.runtime))


def knobs(build: Build) -> str:
    """`nncf_int8: keep_float=0, smooth_quant=0.8`; empty where there are none."""
    members = (step for step in (*build.recipe, build.runtime) if step.knobs)
    return "; ".join(f"{step.name}: {str(step)[len(step.name) + 1 : -1]}" for step in members)


def settings(deployment: Deployment) -> str:
    """How the build is run: threads, batches, copies, machine."""
    streams = f"{deployment.streams} batches at a time, " if deployment.streams > 1 else ""
    words = [f"{streams}{many(deployment.threads, 'thread')}{' each' if streams else ''}"]
    wait = f" filled within {milliseconds(deployment.batch_delay_s)}" if deployment.batch_delay_s else ""
    words.append(f"batches of up to {deployment.batch_size}{wait}" if deployment.batch_size > 1 else "one request at a time")
    words += ["like lengths together"] if deployment.bucketing else []
    words += [f"{deployment.replicas} replicas"] if deployment.replicas > 1 else []
    return ", ".join([*words, *([f"on {deployment.machine}"] if deployment.machine else [])])


def labels(deployments: Sequence[Deployment], *, with_settings: bool = True) -> list[str]:
    """A short name for each; where two would be the same, with their knobs, and if need be with their settings."""
    spellings = [[short(d.build), str(d.build), *([name(d)] if with_settings else [])] for d in deployments]
    return [next((s for i, s in enumerate(own) if sum(s == o[i] for o in spellings) == 1), own[-1]) for own in spellings]


def subject(test: Certificate, floors: Sequence[Floor] = ()) -> str:
    """What the certificate is about: the metric, and the slice where it is about one."""
    if test.slice is None:
        return test.metric
    column = next((f"{floor.slices} " for floor in floors if floor.metric == test.metric and floor.slices), "")
    return f"{test.metric}, {column}{test.slice}"


def asked(test: Certificate) -> str:
    if test.minimum is not None:
        return f"at least {plain(test.minimum)} is asked for"
    return f"{plain(test.max_drop)} may be lost" if test.max_drop else "nothing may be lost"


def reached(test: Certificate) -> str:
    """What is certain of the candidate: how much it may have lost at most, or what it reaches at least."""
    if not math.isfinite(test.upper_bound):
        return "may fall by any amount"
    if test.minimum is not None:
        return f"reaches at least {plain(test.minimum - test.upper_bound)}"
    if test.upper_bound < 0:
        return f"is better by at least {plain(-test.upper_bound)}"
    return f"falls by at most {plain(test.upper_bound)}"


def promise(floor: Floor) -> str:
    limits = [] if floor.max_drop is None else [f"may drop by at most {plain(floor.max_drop)}"]
    limits += [] if floor.minimum is None else [f"must reach {plain(floor.minimum)}"]
    allowed = floor.max_drop if floor.slice_max_drop is None else floor.slice_max_drop
    limits += [] if floor.slices is None or allowed is None else [f"by {plain(allowed)} in each {floor.slices}"]
    return f"{floor.metric} {' and '.join(limits)}, shown at {100 * floor.confidence:g}% confidence"


def usd(value: float) -> str:
    """Cents where they matter, three significant digits below one dollar."""
    sign, size = ("-" if value < 0 else ""), abs(value)
    if size >= 100:
        return f"{sign}${size:,.0f}"
    if size >= 1 or size == 0:
        return f"{sign}${size:.2f}"
    return f"{sign}${size:.{2 - math.floor(math.log10(size))}f}"


def percent(share: float) -> str:
    """One decimal; two from 99.5% to 100%, where the last tenth is a factor."""
    return f"{100 * share:.{2 if 0.995 <= share < 1 else 1}f}%"


def plain(value: float) -> str:
    """Four significant digits, without an exponent where that can be read."""
    size = abs(value)
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else "unbounded"
    if size >= 1e9 or 0 < size < 1e-6:
        return f"{value:.3g}"
    if size >= 1e4:
        return f"{value:,.0f}"
    decimals = 3 - math.floor(math.log10(size)) if size else 0
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def seconds(value: float) -> str:
    for limit, scale, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (120.0, 1.0, "s"), (2 * SECONDS_PER_HOUR, 1 / 60, "min")):
        if value < 0.9995 * limit:  # 999.7 ms is 1 s
            return f"{value * scale:.3g} {unit}"
    hours = value / SECONDS_PER_HOUR
    return f"{hours:.3g} h" if hours < 72 else f"{hours / 24:,.0f} days"


def milliseconds(value: float) -> str:
    return f"{ms(value):.3g} ms" if value < 0.9995 else f"{value:.3g} s"


def joules(value: float) -> str:
    return f"{value / 1e3:,.3g} kJ" if value >= 1e3 else f"{value:.3g} J"


def grams(value: float) -> str:
    return f"{value / 1e3:,.3g} kg" if value >= 1e3 else f"{value:.3g} g"


def mebibytes(value: float) -> str:
    return f"{mib(value):,.3g} MiB"


def count(value: float) -> str:
    if value >= MILLION:
        return f"{value / MILLION:,.3g} million"
    return f"{value:,.0f}"


def many(number: float, noun: str) -> str:
    """`1 thread`, `2 threads`."""
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"
