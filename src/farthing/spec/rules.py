"""What the tables of a job must keep beyond their types: ranges, settings that exclude one another or have no effect."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from farthing import plugins
from farthing.errors import DataError, JobError, MissingExtra, PriceError
from farthing.methods.base import Method
from farthing.metrics import metric_of
from farthing.price_sources.base import PriceSource
from farthing.runtimes.base import Runtime
from farthing.spec.schema import DataTable, Mistakes, SearchTable, near
from farthing.traffic import read_trace
from farthing.types import Budget, Floor, Limits, Prices, Slo, Split, Traffic

SPLITS: tuple[Split, ...] = get_args(Split)
SCENARIO_KEYS = {"server": ("rate_per_s", "trace"), "offline": ("num_items", "deadline_s"), "single_stream": ()}


def check(parts: Mapping[str, Any], mistakes: Mistakes) -> None:
    """Put every rule to those parts of a job that could be read."""
    rules: tuple[tuple[Callable[..., None], tuple[str, ...]], ...] = (
        (_data, ("data",)),
        (_floors, ("floors", "data", "root")),
        (_traffic, ("traffic",)),
        (_slo, ("slo", "traffic")),
        (_limits, ("limits",)),
        (_prices, ("prices", "job")),
        (_sku, ("prices",)),
        (_budget, ("budget",)),
        (_search, ("search",)),
    )
    for rule, names in rules:
        given = [parts.get(name) for name in names]
        if all(part is not None for part in given):
            rule(*given, mistakes)


def _data(data: DataTable, mistakes: Mistakes) -> None:
    if bool(data.inputs) == bool(data.patterns):
        mistakes.say("[data] input or features: name the columns that the model reads, in exactly one of the two")
    if data.pair and len(data.inputs) != 2:
        mistakes.add("[data]", "input", data.input, "two text columns, because pair = true")
    if data.classes is not None and data.label is None:
        mistakes.say("[data] classes has no effect without label; name the label column or remove it")
    if data.split is not None and (data.splits is not None or data.verify is not None):
        mistakes.say("[data] split has no effect beside splits or verify; keep one way to divide the data")
    _positive(data, "[data]", ("limit",), mistakes)
    _shares(data, mistakes)


def _shares(data: DataTable, mistakes: Mistakes) -> None:
    shares = data.splits or {}
    for name, share in shares.items():
        if name not in SPLITS:
            mistakes.say(f"[data] splits.{name}: unknown split; there are: {', '.join(SPLITS)}.{near(name, SPLITS)}")
        elif not 0 <= share <= 1:
            mistakes.add("[data]", f"splits.{name}", share, "a share from 0 to 1")
    if data.verify is not None and "verify" in shares:
        mistakes.say("[data] splits.verify has no effect, because [data.verify] is the verify split; remove one of the two")
    elif shares and not math.isclose(sum(shares.values()), 1.0, abs_tol=1e-6):
        mistakes.add("[data]", "splits", shares, f"shares that sum to 1, these sum to {sum(shares.values()):g}")


def _floors(floors: tuple[Floor, ...], data: DataTable, root: Path, mistakes: Mistakes) -> None:
    needs_labels = [_floor(floor, f"[floor] {floor.metric}:", data, root, mistakes) for floor in floors]
    if data.label is not None and True not in needs_labels and None not in needs_labels:
        mistakes.say(
            f"[data] label = {data.label!r} has no effect: no floor's metric reads labels. Remove it, or choose one that does"
        )


def _floor(floor: Floor, where: str, data: DataTable, root: Path, mistakes: Mistakes) -> bool | None:
    """Whether its metric needs labels; None where there is no such metric."""
    if (floor.max_drop is None) == (floor.minimum is None):
        mistakes.say(f"{where} give either max_drop or minimum (for both, write two [[floor]] tables)")
    for name in ("max_drop", "slice_max_drop"):
        if (drop := getattr(floor, name)) is not None and not 0 <= drop < math.inf:
            mistakes.add(where, name, drop, "a number >= 0")
    if not 0.5 < floor.confidence < 1:
        mistakes.add(where, "confidence", floor.confidence, "a number between 0.5 and 1, like 0.95")
    if floor.slice_max_drop is not None and (floor.slices is None or floor.max_drop is None):
        mistakes.say(f"{where} slice_max_drop has no effect without slices and max_drop")
    needs_labels = _needs_labels(floor.metric, root, mistakes)
    if needs_labels and data.label is None:
        mistakes.say(f"{where} needs labels, and [data] names no label column; name one, or choose a metric of agreement")
    return needs_labels


def _needs_labels(metric: str, root: Path, mistakes: Mistakes) -> bool | None:
    """An unknown metric is a mistake, and None."""
    try:
        if ":" in metric:
            plugins.function(metric, root)
        return metric_of(metric).needs_labels
    except JobError as error:
        mistakes.say(f"[floor] metric = {metric!r}: {error}")
        return None


def _traffic(traffic: Traffic, mistakes: Mistakes) -> None:
    own = SCENARIO_KEYS[traffic.scenario]
    others = [key for keys in SCENARIO_KEYS.values() for key in keys if key not in own]
    for key in others:
        if getattr(traffic, key) is not None:
            owner = next(scenario for scenario, keys in SCENARIO_KEYS.items() if key in keys)
            mistakes.say(
                f"[traffic] {key} has no effect with scenario = {traffic.scenario!r}; remove it, or choose scenario = {owner!r}"
            )
    if traffic.scenario == "server" and traffic.rate_per_s is None and traffic.trace is None:
        mistakes.say("[traffic] scenario = 'server' needs rate_per_s, a trace, or both (the trace's gaps at that rate)")
    if traffic.scenario == "offline" and traffic.num_items is None:
        mistakes.say("[traffic] scenario = 'offline' needs num_items, how many are in one run")
    _positive(traffic, "[traffic]", ("rate_per_s", "num_items", "deadline_s", "requests_per_month"), mistakes)
    if traffic.trace is not None and traffic.trace.exists():
        try:
            read_trace(traffic.trace)
        except DataError as error:
            mistakes.say(f"[traffic] trace: {error}")


def _slo(slo: Slo, traffic: Traffic, mistakes: Mistakes) -> None:
    names = ("latency_p50_s", "latency_p95_s", "latency_p99_s")
    _positive(slo, "[slo]", names, mistakes)
    if traffic.scenario == "offline" and slo.ceilings():
        mistakes.say("[slo] has no effect with scenario = 'offline', where only the deadline counts; remove it")
    seconds = [(name, value) for name in names if (value := getattr(slo, name)) is not None]
    for (lower, low_s), (upper, high_s) in pairwise(seconds):
        if low_s > high_s:
            mistakes.say(
                f"[slo] {lower} = {low_s:g} has no effect, because {upper} = {high_s:g} is stricter; remove one of them"
            )


def _prices(prices: Prices, job: Mapping[str, Any], mistakes: Mistakes) -> None:
    _positive(prices, "[prices]", ("usd_per_hour", "grams_co2e_per_kwh"), mistakes)
    if not 0 <= prices.headroom < 1:
        mistakes.add("[prices]", "headroom", prices.headroom, "a share from 0 to below 1")
    if prices.spare_machines < 0:
        mistakes.add("[prices]", "spare_machines", prices.spare_machines, "a whole number >= 0")
    if prices.usd_per_hour is None and prices.sku is None:
        mistakes.say("[prices] give usd_per_hour of this machine, or its sku in a price table")
    idle = dict.fromkeys(("menu", "headroom", "spare_machines"), "mode = 'whole_machines'") if prices.mode == "share" else {}
    if prices.usd_per_hour is not None and not prices.menu:
        idle |= dict.fromkeys(("source", "spot"), "a menu, because usd_per_hour already is this machine's price")
    for key, need in idle.items():
        if key in job["prices"]:
            mistakes.say(f"[prices] {key} has no effect without {need}; add that, or remove {key}")


def _sku(prices: Prices, mistakes: Mistakes) -> None:
    """The machines that are named stand in the table that is named."""
    if prices.source is None:
        return
    try:
        source = plugins.make(PriceSource, prices.source)  # type: ignore[type-abstract]
        known = {price.sku for price in source.prices(spot=prices.spot)}
    except (PriceError, MissingExtra) as error:
        mistakes.say(f"[prices] source: {error}")
        return
    kind = "spot" if prices.spot else "on-demand"
    looked_up = [("menu", sku) for sku in prices.menu] + (
        [("sku", prices.sku)] if prices.usd_per_hour is None and prices.sku else []
    )
    for key, sku in looked_up:
        if sku not in known:
            expected = f"one of the {len(known)} machines with a price {kind} in {prices.source}.{near(sku, known)}"
            mistakes.add("[prices]", key, sku, expected)


def _limits(limits: Limits, mistakes: Mistakes) -> None:
    _positive(limits, "[limits]", ("artifact_bytes", "peak_bytes"), mistakes)


def _budget(budget: Budget, mistakes: Mistakes) -> None:
    _positive(budget, "[budget]", ("minutes", "trial_timeout_s", "max_rss_gib"), mistakes)


def _search(search: SearchTable, mistakes: Mistakes) -> None:
    for key, kind, chosen in (("methods", Method, search.methods), ("runtimes", Runtime, search.runtimes)):
        for name in chosen or ():
            if name not in (known := plugins.names(kind)):
                mistakes.add("[search]", key, name, f"one of {', '.join(known)}.{near(name, known)}")
    if search.runtimes == ():
        mistakes.add("[search]", "runtimes", [], "at least one; leave it out to allow all")


def _positive(table: object, where: str, names: tuple[str, ...], mistakes: Mistakes) -> None:
    for name in names:
        value = getattr(table, name)
        if value is not None and not 0 < value < math.inf:
            mistakes.add(where, name, value, "a number > 0")
