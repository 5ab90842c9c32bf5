"""The choice of whole machines: equal to brute force, ties, spares, the step function."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.pricing.machines import Size, cheapest_fleet, cheapest_run, fleets


def size(sku: str, usd_per_hour: float, capacity_per_s: float) -> Size:
    return Size(sku=sku, usd_per_hour=usd_per_hour, capacity_per_s=capacity_per_s)


def brute_force(menu: tuple[Size, ...], rate_per_s: int, spares: int) -> tuple[float, int]:
    """(USD per hour, machines) of the best fleet, from the definition: the largest machines are the ones lost."""
    best = (float("inf"), 0)
    for counts in itertools.product(*(range(int(rate_per_s // s.capacity_per_s) + 2 + spares) for s in menu)):
        machines = sorted(s.capacity_per_s for s, n in zip(menu, counts, strict=True) for _ in range(n))
        left = machines[: len(machines) - spares]
        if left and sum(left) >= rate_per_s:
            usd = sum(n * s.usd_per_hour for s, n in zip(menu, counts, strict=True))
            best = min(best, (round(usd, 9), sum(counts)))
    return best


MENUS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 9)), min_size=1, max_size=3, unique=True).map(
    lambda pairs: tuple(size(f"m{i}", cents / 100, float(capacity)) for i, (cents, capacity) in enumerate(pairs))
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(menu=MENUS, rate_per_s=st.integers(1, 12), spares=st.integers(0, 2))
def test_the_optimum_is_that_of_brute_force(menu: tuple[Size, ...], rate_per_s: int, spares: int) -> None:
    fleet = cheapest_fleet(menu, float(rate_per_s), spares)
    assert (round(fleet.usd_per_hour, 9), fleet.num_machines) == brute_force(menu, rate_per_s, spares)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(menu=MENUS, horizon=st.floats(0.5, 60.0), spares=st.integers(0, 2))
def test_cost_is_a_rising_step_function_of_the_rate(menu: tuple[Size, ...], horizon: float, spares: int) -> None:
    steps = list(fleets(menu, horizon, spares))
    assert steps[-1].carries_per_s >= horizon - 1e-9
    for lower, upper in itertools.pairwise(steps):
        assert lower.carries_per_s < upper.carries_per_s
        assert (lower.usd_per_hour, lower.num_machines) < (upper.usd_per_hour, upper.num_machines)
        between = (lower.carries_per_s + upper.carries_per_s) / 2
        assert cheapest_fleet(menu, between, spares) == cheapest_fleet(menu, upper.carries_per_s, spares) == upper


def test_sizes_are_mixed_where_that_is_cheaper() -> None:
    menu = (size("small", 1.0, 10.0), size("large", 2.9, 30.0))
    assert cheapest_fleet(menu, 40.0).counts == (1, 1)


def test_equal_cost_goes_to_fewer_machines() -> None:
    menu = (size("small", 0.1, 10.0), size("large", 0.3, 30.0))
    assert cheapest_fleet(menu, 90.0).counts == (0, 3)
    assert cheapest_fleet(menu[::-1], 90.0).counts == (3, 0)


def test_a_spare_is_as_large_as_what_may_be_lost() -> None:
    menu = (size("small", 1.0, 10.0), size("large", 2.9, 30.0))
    assert cheapest_fleet(menu, 30.0, 0).counts == (0, 1)
    assert cheapest_fleet(menu, 30.0, 1).counts == (4, 0), "three carry, one is spare: 4.0 beats two large at 5.8"


def test_no_rate_still_needs_a_machine() -> None:
    assert cheapest_fleet((size("small", 1.0, 10.0),), 0.0).counts == (1,)


def test_a_large_family_is_quick() -> None:
    """Sizes of one family cost the same per request: fleets that differ in nothing must not be counted apart."""
    menu = tuple(size(f"m{k}", 0.085 * k, 13.7 * k) for k in (1, 2, 4, 8, 16, 24))
    fleet = cheapest_fleet(menu, 13.7 * 500)
    assert fleet.usd_per_hour == pytest.approx(0.085 * 500)
    assert fleet.num_machines == 500 // 24 + 2  # 480 = 20 x 24, 20 = 16 + 4


def test_rented_by_the_run_only_usd_per_request_counts() -> None:
    menu = (size("small", 1.0, 10.0), size("large", 2.9, 30.0), size("twice", 5.8, 60.0))
    assert cheapest_fleet(menu, 5.0).counts == (1, 0, 0)
    assert cheapest_run(menu, 5.0).counts == (0, 1, 0)
    assert cheapest_run(menu, 95.0).counts == (0, 4, 0)
