"""Every router keeps the laws of the set; and what tells one from another."""

from collections import Counter

import pytest

from farthing import plugins
from farthing.routers.base import Load, Router
from farthing.testing.routers import check_router


@pytest.mark.parametrize("name", plugins.names(Router))
def test_contract(name: str) -> None:
    check_router(plugins.load(Router, name)())


def loads(**fields: tuple[float, ...]) -> list[Load]:
    count = len(next(iter(fields.values())))
    return [
        Load(**{"name": f"r{i}", "in_flight": 0, "slots": 2, **{key: values[i] for key, values in fields.items()}})
        for i in range(count)
    ]


@pytest.mark.parametrize("name", ["least_loaded", "power_of_two", "cost_aware"])
def test_the_busier_one_is_spared(name: str) -> None:
    router = plugins.load(Router, name)()
    assert {router.choose(loads(in_flight=(1, 0))) for _ in range(20)} == {1}


def test_weights_are_kept_and_spread() -> None:
    router = plugins.load(Router, "weighted")()
    chosen = [router.choose(loads(weight=(5.0, 1.0, 1.0))) for _ in range(70)]
    assert Counter(chosen) == {0: 50, 1: 10, 2: 10}
    assert chosen[:7] != [0, 0, 0, 0, 0, 1, 2]


def test_the_cheaper_of_unlike_ones_is_taken_until_it_is_not_cheaper() -> None:
    router = plugins.load(Router, "cost_aware")()
    assert {router.choose(loads(usd_per_batch=(2e-6, 1e-6), in_flight=(0, 1))) for _ in range(10)} == {1}
    assert {router.choose(loads(usd_per_batch=(1.0e-6, 1.01e-6))) for _ in range(10)} == {0, 1}
