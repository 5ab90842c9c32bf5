"""The unit prices of a job, resolved once: this machine, what its parts cost, and the menu of other sizes."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass

from farthing import plugins
from farthing.errors import PriceError
from farthing.meters.base import Meter
from farthing.price_sources.base import PriceSource
from farthing.pricing.energy import energy_meter
from farthing.pricing.prediction import Machine, predict
from farthing.types import Device, MemberRef, Prices, UnitPrice
from farthing.units import SECONDS_PER_HOUR, gib

SHIPPED_TABLE = MemberRef(name="snapshot")
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


def read_tariff(prices: Prices, device: Device) -> Tariff:
    """Look up everything that `prices` names; `device` is the machine that is measured.

    Raises PriceError for a price that is not positive, an unknown SKU (with the nearest spelling), a SKU without a spot
    price, and a SKU that is not the size of the measured machine where whole machines are billed.
    """
    needs_table = prices.menu or prices.usd_per_hour is None
    table = {price.sku: price for price in _source(prices).prices(spot=prices.spot)} if needs_table else {}
    machine = _given(prices, device) if prices.usd_per_hour is not None else _listed(prices, device, table)
    menu, left_out = [Machine(price=machine)], []
    for sku in dict.fromkeys(prices.menu):
        if sku == machine.sku:
            continue
        found = predict(_find(table, sku, prices), machine, device.kind)
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
        vcpus=device.num_cores,
        memory_gib=gib(device.memory_bytes),
        source="given in the job",
        observed_at="",
        spot=prices.spot,
        accelerator=device.name if accelerated else None,
        accelerator_count=float(accelerated),
    )


def _listed(prices: Prices, device: Device, table: Mapping[str, UnitPrice]) -> UnitPrice:
    if prices.sku is None:
        raise PriceError("prices names neither usd_per_hour nor sku: what does an hour of this machine cost?")
    machine = _find(table, prices.sku, prices)
    if device.kind != "cpu" and not machine.accelerator_count:
        raise PriceError(f"prices.sku = {prices.sku!r} has no accelerator, the measured machine is a {device.name}")
    if prices.mode == "whole_machines" and device.kind == "cpu" and machine.vcpus != device.num_cores:
        raise PriceError(
            f"prices.sku = {prices.sku!r} has {machine.vcpus:g} vCPUs, the measured machine {device.num_cores}: "
            f"name a SKU of this size in prices.sku, and put {prices.sku!r} in prices.menu"
        )
    return machine


def _find(table: Mapping[str, UnitPrice], sku: str, prices: Prices) -> UnitPrice:
    if sku in table:
        return table[sku]
    where = f"price source {prices.source or SHIPPED_TABLE}"
    if prices.spot and any(price.sku == sku for price in _source(prices).prices(spot=False)):
        raise PriceError(f"{where} has no spot price of {sku!r}: set prices.spot = false or choose another machine")
    near = difflib.get_close_matches(sku, table, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"It has {len(table)}, among them {', '.join(sorted(table)[:3])}"
    raise PriceError(f"{where} has no machine {sku!r}. {hint}")


def _source(prices: Prices) -> PriceSource:
    return plugins.make(PriceSource, prices.source or SHIPPED_TABLE)  # type: ignore[type-abstract]
