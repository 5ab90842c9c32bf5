"""price(): what one deployment costs for this traffic, line by line."""

from dataclasses import dataclass, replace

from farthing.errors import PriceError
from farthing.pricing.demand import Demand
from farthing.pricing.energy import Energy, request_energy
from farthing.pricing.machines import SCALE, Size, cheapest_fleet, cheapest_run
from farthing.pricing.prediction import Machine
from farthing.pricing.tariff import Tariff
from farthing.results import Cost, CostLine, UnitPrice
from farthing.units import MILLION, SECONDS_PER_MONTH, gib, hours, kwh


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one replica of a deployment takes of the machine it was measured on."""

    busy_s: float  # per request, during which it holds all its vCPUs: stream-seconds of work / streams
    vcpus: int  # threads x streams; where that is more than the machine has, it holds the machine's
    peak_bytes: float
    capacity_per_s: float  # requests that one machine carries within the SLO
    joules: float | None = None  # of one request while busy, measured; None: to be modelled
    joules_source: str = ""
    predicted: bool = False  # its times were predicted, not measured


def price(usage: Usage, demand: Demand, tariff: Tariff) -> Cost:
    """share: only use is paid, busy_s * (vcpus * usd_per_vcpu_s + GiB * usd_per_gib_s) a request.

    whole_machines: the cheapest integer machines that carry the peak rate with the headroom free and the spares gone, all
    month (offline: while a run lasts), busy or idle. In both, the lines add up to `usd_per_million`.
    """
    if tariff.prices.mode == "share":
        return _share(usage, demand, tariff)
    return _whole_machines(usage, demand, tariff)


def sizes(usage: Usage, tariff: Tariff) -> tuple[Size, ...]:
    """What one machine of each size that fits may be given: (1 - headroom) of its capacity, in the steps of 1 / SCALE.

    Rounded before it is multiplied, so that a machine of twice the copies carries twice as much exactly.
    """
    free_per_s = round(usage.capacity_per_s * (1.0 - tariff.prices.headroom) * SCALE) / SCALE
    if not free_per_s > 0.0:
        raise PriceError(f"a deployment that carries {usage.capacity_per_s:g} requests/s has no price: no machine is enough")
    return tuple(
        Size(sku=m.price.sku, usd_per_hour=m.price.usd_per_hour, capacity_per_s=free_per_s * m.speed)
        for m in _fitting(usage, tariff)
    )


def left_out(usage: Usage, tariff: Tariff) -> tuple[tuple[str, str], ...]:
    """(sku, reason) of every machine of the menu that was not considered for this deployment."""
    fitting = _fitting(usage, tariff)
    return tariff.left_out + tuple(
        (m.price.sku, f"{m.copies} x {gib(usage.peak_bytes):.2g} GiB do not fit into its {m.price.memory_gib:g} GiB")
        for m in tariff.menu
        if m not in fitting
    )


def _share(usage: Usage, demand: Demand, tariff: Tariff) -> Cost:
    machine, vcpus, busy_s = tariff.machine, min(usage.vcpus, tariff.device.num_cores), usage.busy_s * MILLION
    lines: tuple[CostLine, ...]
    if tariff.device.kind == "cpu":
        lines = (
            _line(machine, "vCPU-second", busy_s * vcpus, tariff.usd_per_vcpu_s),
            _line(machine, "GiB-second", busy_s * gib(usage.peak_bytes), tariff.usd_per_gib_s),
        )
    else:
        lines = (_line(machine, "accelerator-second", busy_s, tariff.usd_per_accelerator_s),)
    usd_per_million = sum(line.usd for line in lines)
    usd_per_month = usd_per_million * _requests_per_month(usage, demand) / MILLION
    cost = Cost(
        lines=lines,
        usd_per_million=usd_per_million,
        usd_per_month=usd_per_month,
        predicted=usage.predicted,
        machine=machine.sku,
        num_machines=usd_per_month / (machine.usd_per_hour * hours(SECONDS_PER_MONTH)),
    )
    return _with_energy(cost, usage, tariff, paid_s=usage.busy_s * vcpus / tariff.device.num_cores)


def _whole_machines(usage: Usage, demand: Demand, tariff: Tariff) -> Cost:
    machines, requests = _fitting(usage, tariff), _requests_per_month(usage, demand)
    cheapest = cheapest_fleet if demand.requests_per_run is None else cheapest_run
    fleet = cheapest(sizes(usage, tariff), demand.peak_rate_per_s, tariff.prices.spare_machines)
    rented = [(machine, count) for machine, count in zip(machines, fleet.counts, strict=True) if count]
    rented_s = _rented_s(usage, demand, rented)
    per_million = MILLION / requests
    lines = tuple(_line(m.price, "machine-hour", n * hours(rented_s) * per_million, m.price.usd_per_hour) for m, n in rented)
    cost = Cost(
        lines=lines,
        usd_per_million=sum(line.usd for line in lines),
        usd_per_month=fleet.usd_per_hour * hours(rented_s),
        predicted=usage.predicted or any(machine.model for machine, _ in rented),
        machine=" + ".join(f"{count} x {machine.price.sku}" for machine, count in rented),
        num_machines=float(fleet.num_machines),
    )
    measured_machines = sum(count * _size(m.price, tariff) for m, count in rented) / _size(tariff.machine, tariff)
    return _with_energy(cost, usage, tariff, paid_s=measured_machines * rented_s / requests)


def _size(price: UnitPrice, tariff: Tariff) -> float:
    return price.vcpus if tariff.device.kind == "cpu" else price.accelerator_count


def _rented_s(usage: Usage, demand: Demand, rented: list[tuple[Machine, int]]) -> float:
    """Seconds a month: all of them; offline, the runs' own, all machines at work at full capacity."""
    if demand.requests_per_run is None:
        return SECONDS_PER_MONTH
    return _requests_per_month(usage, demand) / (usage.capacity_per_s * sum(n * m.speed for m, n in rented))


def _fitting(usage: Usage, tariff: Tariff) -> tuple[Machine, ...]:
    """The menu without what has too little memory; the measured machine fits, since it ran there."""
    return tuple(m for m in tariff.menu if m.model is None or gib(usage.peak_bytes) * m.copies <= m.price.memory_gib)


def _with_energy(cost: Cost, usage: Usage, tariff: Tariff, *, paid_s: float) -> Cost:
    busy_core_s = usage.busy_s * min(usage.vcpus, tariff.device.num_cores)
    busy = None if usage.joules is None else Energy(joules=usage.joules, source=usage.joules_source)
    energy = request_energy(tariff.device, tariff.energy_model, busy_core_s=busy_core_s, paid_s=paid_s, busy=busy)
    if energy is None:
        return cost
    joules = energy.joules * MILLION
    grams = kwh(joules) * tariff.prices.grams_co2e_per_kwh
    return replace(cost, joules_per_million=joules, grams_co2e_per_million=grams, energy_source=energy.source)


def _requests_per_month(usage: Usage, demand: Demand) -> float:
    return demand.requests_per_month or usage.capacity_per_s * SECONDS_PER_MONTH


def _line(machine: UnitPrice, unit: str, quantity: float, usd_per_unit: float) -> CostLine:
    return CostLine(
        sku=machine.sku,
        unit=unit,
        quantity=quantity,
        usd_per_unit=usd_per_unit,
        usd=quantity * usd_per_unit,
        source=machine.source,
        observed_at=machine.observed_at,
    )
