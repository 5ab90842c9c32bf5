"""The cheapest whole machines for a rate: an exact choice of integers out of a menu of sizes."""

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

SCALE = 10**9  # prices and capacities as integers: sums of floats would make equal fleets differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """One size of the menu, for one deployment."""

    sku: str
    usd_per_hour: float
    capacity_per_s: float  # requests that one of it may be given: headroom taken off


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    counts: tuple[int, ...]  # machines of each size of the menu
    usd_per_hour: float
    carries_per_s: float  # with the spare machines gone

    @property
    def num_machines(self) -> int:
        return sum(self.counts)


def cheapest_fleet(menu: Sequence[Size], rate_per_s: float, spare_machines: int = 0) -> Fleet:
    """min sum(n_i usd_i) over integers n_i >= 0 such that, whichever `spare_machines` are lost, the rest carry the rate.

    At least one machine carries. Equal costs go to fewer machines.
    """
    *_, last = fleets(menu, rate_per_s, spare_machines)
    return last


def cheapest_run(menu: Sequence[Size], rate_per_s: float, spare_machines: int = 0) -> Fleet:
    """As `cheapest_fleet`, for machines that are rented until the work is done: then only USD per request counts.

    All are of the size where that is least, the first of the menu among equals, and enough of them for the rate.
    """
    usd_per_request = [size.usd_per_hour / size.capacity_per_s for size in menu]
    best = next(i for i, usd in enumerate(usd_per_request) if math.isclose(usd, min(usd_per_request), rel_tol=1e-9))
    fleet = cheapest_fleet(menu[best : best + 1], rate_per_s, spare_machines)
    return replace(fleet, counts=tuple(fleet.counts[0] * (i == best) for i in range(len(menu))))


def fleets(menu: Sequence[Size], rate_per_s: float, spare_machines: int = 0) -> Iterator[Fleet]:
    """All fleets than which none carries more for less (or as little, in fewer machines), up to one that carries the rate.

    This is the step function of cost over rate: from the rate that one fleet carries to that of the next, the next is the
    cheapest. With spares: the worst loss is that of the largest machines, so each spare is as large as any that carries.
    For each size as the largest that carries, the spares are of the cheapest size no smaller; the best of these fleets stay.
    """
    fronts = []
    for largest in {size.capacity_per_s for size in menu}:
        allowed = [i for i, size in enumerate(menu) if size.capacity_per_s <= largest]
        spare = min((i for i in range(len(menu)) if menu[i].capacity_per_s >= largest), key=lambda i: menu[i].usd_per_hour)
        fronts.append(_front(menu, allowed, spare, spare_machines))
    carried, needed = 0, max(1, round(rate_per_s * SCALE))
    for nano_usd, _, minus_capacity, counts in heapq.merge(*fronts):
        if -minus_capacity > carried:
            carried = -minus_capacity
            yield Fleet(counts=counts, usd_per_hour=nano_usd / SCALE, carries_per_s=carried / SCALE)
        if carried >= needed:
            return


_State = tuple[int, int, int, tuple[int, ...]]  # cost, machines, -capacity, counts: sorts as wanted


def _front(menu: Sequence[Size], allowed: Sequence[int], spare: int, num_spares: int) -> Iterator[_State]:
    """Best first: states leave the heap by cost, so that one which carries no more than an earlier one is beaten by it."""
    usd = [round(size.usd_per_hour * SCALE) for size in menu]
    capacity = [round(size.capacity_per_s * SCALE) for size in menu]
    assert all(c > 0 for c in capacity) and all(u > 0 for u in usd)
    spares = tuple(num_spares * (i == spare) for i in range(len(menu)))
    heap: list[_State] = [(usd[spare] * num_spares, num_spares, 0, spares)]
    carried = -1
    while True:
        state = cost, machines, minus_capacity, counts = heapq.heappop(heap)
        if -minus_capacity <= carried:
            continue
        carried = -minus_capacity
        yield state
        for i in allowed:
            more = (*counts[:i], counts[i] + 1, *counts[i + 1 :])
            heapq.heappush(heap, (cost + usd[i], machines + 1, minus_capacity - capacity[i], more))
