"""The books: what is saved, when it is switched off, and that noise does not flip it."""

import random

import pytest

from farthing.caching import savings as module
from farthing.caching.savings import Savings, Terms

LOOK_S = 1e-4


def drive(savings: Savings, hit_rate: float, num_requests: int, seed: int = 0) -> None:
    draw = random.Random(seed)
    for _ in range(num_requests):
        if savings.is_on:
            savings.took(LOOK_S)
            savings.looked(hit=draw.random() < hit_rate)
        else:
            savings.passed()


def savings(break_even: float) -> Savings:
    """Of a cache that pays from this hit rate on."""
    return Savings(terms=Terms(usd_per_request=1e-6, usd_per_s=break_even * 1e-6 / LOOK_S), name="exact cache", window=200)


def test_saved_is_net_of_what_it_costs():
    books = savings(0.1)
    drive(books, 1.0, 100)
    books.shadowed()
    assert books.saved_usd == pytest.approx(100e-6 - 100 * 0.1e-6 - 1e-6)
    assert books.hit_rate == 1.0


def test_it_stays_where_it_pays_and_goes_where_it_loses():
    paying, losing = savings(0.1), savings(0.5)
    drive(paying, 0.2, 10_000)
    drive(losing, 0.2, 10_000)
    assert paying.is_on and paying.switched == 0 and paying.saved_usd > 0
    assert losing.switched > 0 and losing.skipped > 7_000
    assert "off for" in losing.why or "trial" in losing.why


def test_trials_grow_rarer():
    """It loses ever less: what looking costs falls below a tenth of what it would have cost."""
    books = savings(0.5)
    drive(books, 0.0, 100_000)
    assert books.hits + books.misses < 10_000


def test_it_comes_back_when_traffic_repeats_again():
    books = savings(0.2)
    drive(books, 0.0, 2_000)
    assert not books.is_on
    drive(books, 0.6, 20_000)
    assert books.is_on and "saved" in books.why


def test_hysteresis(monkeypatch):
    """At the margin, coming back must pay clearly: it is switched less often than without the gap."""

    def switches() -> int:
        books = [savings(0.2) for _ in range(6)]
        for seed, book in enumerate(books):
            drive(book, 0.2, 40_000, seed)
        return sum(book.switched for book in books)

    with_gap = switches()
    monkeypatch.setattr(module, "ON_ABOVE", module.OFF_BELOW)
    assert with_gap < 0.75 * switches()


@pytest.mark.parametrize(
    "terms", [{"usd_per_request": -1.0, "usd_per_s": 0.0}, {"usd_per_request": 0.0, "usd_per_s": float("nan")}]
)
def test_prices_are_checked(terms):
    with pytest.raises(ValueError, match="give what it costs"):
        Terms(**terms)
