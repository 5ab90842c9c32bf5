"""When the search has paid for itself, and how far rate and prices may move before another choice is cheaper."""

import math
from bisect import bisect_left
from collections.abc import Sequence

from farthing.pricing.bill import Usage, price, sizes
from farthing.pricing.demand import Demand
from farthing.pricing.machines import SCALE, Fleet, fleets
from farthing.pricing.tariff import GIB_PER_VCPU_PRICE, Tariff
from farthing.units import gib, hours

RATE_HORIZON = 10.0  # times the demanded rate: how far cheapest_rates looks where it cannot prove more


def search_usd(search_s: float, tariff: Tariff) -> float:
    """What the optimization itself costs: all of this machine while it lasts."""
    return hours(search_s) * tariff.machine.usd_per_hour


def break_even(search_usd: float, saved_usd_per_request: float) -> float | None:
    """Requests after which the search has paid for itself; None: never, nothing is saved."""
    return search_usd / saved_usd_per_request if saved_usd_per_request > 0.0 else None


def cheapest_price_ratios(chosen: Usage, others: Sequence[Usage], tariff: Tariff) -> tuple[float, float] | None:
    """The range of r = USD per GiB-second / USD per vCPU-second in which `chosen` costs no more than any other; share mode.

    Costs are linear in r, c(r) ~ core_s + r * gib_s, so every other usage bounds the range by one breakpoint. None: another
    one is cheaper at today's ratio.
    """
    low, high = 0.0, math.inf
    core_s, gib_s = _shares(chosen, tariff)
    for other in others:
        more_core_s, more_gib_s = (mine - its for mine, its in zip((core_s, gib_s), _shares(other, tariff), strict=True))
        if more_gib_s > 0.0:
            high = min(high, -more_core_s / more_gib_s)
        elif more_gib_s < 0.0:
            low = max(low, more_core_s / -more_gib_s)
        elif more_core_s > 0.0:
            return None
    return (low, high) if low <= GIB_PER_VCPU_PRICE <= high else None


def cheapest_rates(chosen: Usage, others: Sequence[Usage], demand: Demand, tariff: Tariff) -> tuple[float, float] | None:
    """The range (low, high] of peak rates per second around the demand in which `chosen` costs no more than any other.

    In shares, and for machines rented by the run, a request costs the same at any rate. For machines rented all month costs
    are step functions of the rate, compared step by step; the upper end is infinite where `chosen` provably stays the
    cheapest, else at most RATE_HORIZON times the demand. None: another is cheaper at the demand itself, or it has no rate.
    """
    if tariff.prices.mode == "share" or demand.requests_per_run is not None:
        mine_usd = price(chosen, demand, tariff).usd_per_million
        return (0.0, math.inf) if all(mine_usd <= price(o, demand, tariff).usd_per_million for o in others) else None
    if demand.peak_rate_per_s == 0.0:
        return None
    horizon = round(demand.peak_rate_per_s * RATE_HORIZON * SCALE) / SCALE
    mine, theirs = _steps(chosen, horizon, tariff), [_steps(other, horizon, tariff) for other in others]
    ends = sorted({min(fleet.carries_per_s, horizon) for fleet in (*mine, *(f for steps in theirs for f in steps))})
    wins = [all(_usd_at(mine, end) <= _usd_at(steps, end) for steps in theirs) for end in ends]
    here = next(i for i, end in enumerate(ends) if end >= demand.peak_rate_per_s)
    if not wins[here]:
        return None
    first = max((i + 1 for i in range(here) if not wins[i]), default=0)
    last = next((i - 1 for i in range(here, len(ends)) if not wins[i]), len(ends) - 1)
    proven = last == len(ends) - 1 and all(_wins_beyond(horizon, chosen, other, tariff) for other in others)
    return (ends[first - 1] if first else 0.0), math.inf if proven else ends[last]


def _steps(usage: Usage, horizon: float, tariff: Tariff) -> list[Fleet]:
    return list(fleets(sizes(usage, tariff), horizon, tariff.prices.spare_machines))


def _usd_at(steps: Sequence[Fleet], rate_per_s: float) -> float:
    """USD per hour of the first fleet that carries the rate."""
    return steps[bisect_left(steps, rate_per_s, key=lambda fleet: fleet.carries_per_s)].usd_per_hour


def _wins_beyond(rate_per_s: float, chosen: Usage, other: Usage, tariff: Tariff) -> bool:
    """Fleets of the size with the best USD per request, one machine rounded up, beat the other's best without rounding."""
    best, rival = (
        min(sizes(usage, tariff), key=lambda size: size.usd_per_hour / size.capacity_per_s) for usage in (chosen, other)
    )
    slope = rival.usd_per_hour / rival.capacity_per_s - best.usd_per_hour / best.capacity_per_s
    rounding_usd = best.usd_per_hour * (1 + tariff.prices.spare_machines)
    return slope * rate_per_s >= rounding_usd


def _shares(usage: Usage, tariff: Tariff) -> tuple[float, float]:
    """(vCPU-seconds, GiB-seconds) of one request."""
    return usage.busy_s * min(usage.vcpus, tariff.device.num_cores), usage.busy_s * gib(usage.peak_bytes)
