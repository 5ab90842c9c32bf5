"""How fast a machine that was not measured is said to be: only by a stated model, from sourced ceilings, or not at all."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from farthing.results import UnitPrice


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A size of machine that may be rented, against the one that was measured."""

    price: UnitPrice
    copies: int = 1  # of the measured deployment that run side by side on it
    speed: float = 1.0  # requests per second against the measured machine, all copies together
    model: str | None = None  # by which its speed is predicted; None: it was measured


def predict(target: UnitPrice, measured: UnitPrice, device_kind: str) -> Machine | str:
    """`target` with its predicted speed; or why there is none.

    Same family: copies of the measured deployment side by side, one per measured machine's worth of vCPUs (accelerators),
    each as fast as the measured one. Another family of accelerators: also times the least ratio of published ceilings,
    over precisions and bandwidth, so that whichever of them binds is not overrated.
    """
    unit, ours, theirs = _units(measured, target, device_kind)
    copies = int(theirs / ours)
    if copies < 1:
        return f"it has {theirs:g} {unit}, the measured {measured.sku} has {ours:g}: the deployment would not fit"
    if family(target.sku) == family(measured.sku):
        return Machine(price=target, copies=copies, speed=float(copies), model=f"{copies} x {measured.sku}, same family")
    ratio = None if device_kind == "cpu" else _least_ratio(family(target.sku), family(measured.sku))
    if ratio is None:
        return f"not of the family of {measured.sku}, and no published ceilings of both are at hand: measure on it"
    model = f"{copies} x {ratio:.2f} {measured.sku}, the least ratio of their published ceilings"
    return Machine(price=target, copies=copies, speed=copies * ratio, model=model)


def family(sku: str) -> str:
    """The SKU without its size: AWS c6i(.4xlarge), GCP n2-standard(-16), Azure Standard_F(16)s_v2."""
    if sku.startswith("Standard_"):
        return re.sub(r"^(Standard_[A-Z]+)\d+", r"\1", sku)
    if "." in sku:
        return sku.partition(".")[0]
    return re.sub(r"-\d+g?$", "", sku)


def _units(measured: UnitPrice, target: UnitPrice, device_kind: str) -> tuple[str, float, float]:
    if device_kind == "cpu":
        return "vCPUs", measured.vcpus, target.vcpus
    return "accelerators", measured.accelerator_count, target.accelerator_count


def _least_ratio(target: str, measured: str) -> float | None:
    theirs, ours = _ceilings().get(target), _ceilings().get(measured)
    return None if theirs is None or ours is None else min(theirs[name] / ours[name] for name in ours)


@cache
def _ceilings() -> Mapping[str, Mapping[str, float]]:
    """family -> flop/s per precision and byte/s of one of its accelerators; each row says where they were published."""
    table = files("farthing.pricing").joinpath("ceilings.csv").read_text(encoding="utf-8")
    return {
        row["family"]: {name: float(cell) for name, cell in row.items() if name.endswith("_per_s")}
        for row in csv.DictReader(table.splitlines())
    }
