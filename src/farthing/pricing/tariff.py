"""The unit prices of a job, resolved once: this machine, what its parts cost, and the menu of other sizes."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from farthing import plugins
from farthing.errors import PriceError
from farthing.meters.base import Meter
from farthing.price_sources.base import PriceSource
from farthing.pricing.energy import energy_meter
from farthing.pricing.prediction import Machine, predict
from farthing.results import Device, UnitPrice
from farthing.types import Prices
from farthing.units import SECONDS_PER_HOUR, gib

# AWS Fargate, Linux/x86, us-east-1: 0.004445 USD per GiB-hour and 0.04048 per vCPU-hour, as of June 2026
# (factualminds.com/blog/amazon-fargate-ecs-task-pricing-2026; the same at vantage.sh/blog/fargate-pricing)
GIB_PER_VCPU_PRICE = 0.004445 / 0.04048


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    prices: Prices
    device: Device  # that was measured
    machine: UnitPrice  # what it costs
    menu: tuple[Machine, ...]  # it, and every other size whose speed can be predicted
    left_out: tuple[tuple[str, str], ...] = ()  # (sku, why its speed cannot be predicted)
    energy_model: Meter | None = None  # for what no sensor measured

    @property
    def usd_per_vcpu_s(self) -> float:
        """A machine's price split over its parts: p_vcpu * (vcpus + r * memory_gib) = p_machine, r = GIB_PER_VCPU_PRICE."""
        parts = self.machine.vcpus + GIB_PER_VCPU_PRICE * self.machine.memory_gib
        return self.machine.usd_per_hour / SECONDS_PER_HOUR / parts

    @property
    def usd_per_gib_s(self) -> float:
        return GIB_PER_VCPU_PRICE * self.usd_per_vcpu_s

    @property
    def usd_per_accelerator_s(self) -> float:
        """Where there are accelerators, they carry the whole price of the machine."""
        return self.machine.usd_per_hour / SECONDS_PER_HOUR / self.machine.accelerator_count


def read_tariff(prices: Prices, device: Device, source: PriceSource | None = None) -> Tariff:
    """Look up everything that `prices` names, in `source` or else in the one that it names; `device` is what is measured.

    Raises PriceError for a price that is not positive, an unknown SKU (with the nearest spelling), a SKU without a spot
    price, and a SKU that is not the size of the measured machine where whole machines are billed.
    """
    table = _Table(prices, source)
    machine = _listed(prices, device, table) if prices.usd_per_hour is None else _given(prices, device)
    menu, left_out = [Machine(price=machine)], []
    for sku in dict.fromkeys(prices.menu):
        if sku == machine.sku:
            continue
        found = predict(table.find(sku), machine, device.kind)
        if isinstance(found, Machine):
            menu.append(found)
        else:
            left_out.append((sku, found))
    return Tariff(
        prices=prices,
        device=device,
        machine=machine,
        menu=tuple(menu),
        left_out=tuple(left_out),
        energy_model=energy_meter(device, sensors=False),
    )


def _given(prices: Prices, device: Device) -> UnitPrice:
    usd_per_hour = prices.usd_per_hour
    assert usd_per_hour is not None
    if not (math.isfinite(usd_per_hour) and usd_per_hour > 0.0):
        raise PriceError(f"prices.usd_per_hour = {usd_per_hour!r} must be a positive number")
    accelerated = device.kind != "cpu"
    return UnitPrice(
        sku=prices.sku or device.name,
        usd_per_hour=usd_per_hour,
        vcpus=0 if accelerated else device.num_cores,
        memory_gib=gib(device.memory_bytes),
        source="given in the job",
        observed_at="",
        spot=prices.spot,
        accelerator=device.name if accelerated else None,
        accelerator_count=float(accelerated),
    )


def _listed(prices: Prices, device: Device, table: "_Table") -> UnitPrice:
    if prices.sku is None:
        raise PriceError("prices names neither usd_per_hour nor sku: what does an hour of this machine cost?")
    machine = table.find(prices.sku)
    if device.kind != "cpu" and not machine.accelerator_count:
        raise PriceError(f"prices.sku = {prices.sku!r} has no accelerator, the measured machine is a {device.name}")
    if prices.mode == "whole_machines" and device.kind == "cpu" and machine.vcpus != device.num_cores:
        raise PriceError(
            f"prices.sku = {prices.sku!r} has {machine.vcpus:g} vCPUs, the measured machine {device.num_cores}: "
            f"name a SKU of this size in prices.sku, and put {prices.sku!r} in prices.menu"
        )
    return machine


class _Table:
    """The machines of the job's price source, read when one is first looked up."""

    def __init__(self, prices: Prices, source: PriceSource | None) -> None:
        self._prices, self._given_source = prices, source

    def find(self, sku: str) -> UnitPrice:
        known = self._by_sku
        if sku in known:
            return known[sku]
        where = f"price source {plugins.ref(self._source)}"
        if self._prices.spot and any(price.sku == sku for price in self._source.prices(spot=False)):
            raise PriceError(f"{where} has no spot price of {sku!r}: set prices.spot = false or choose another machine")
        near = difflib.get_close_matches(sku, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"It has {len(known)}, among them {', '.join(sorted(known)[:3])}"
        raise PriceError(f"{where} has no machine {sku!r}. {hint}")

    @cached_property
    def _source(self) -> PriceSource:
        if self._given_source is not None:
            return self._given_source
        if self._prices.source is None:
            raise PriceError("prices names a machine, but no source to look it up in: give prices.source or usd_per_hour")
        return plugins.make(PriceSource, self._prices.source)  # type: ignore[type-abstract]

    @cached_property
    def _by_sku(self) -> Mapping[str, UnitPrice]:
        return {price.sku: price for price in self._source.prices(spot=self._prices.spot)}
