"""The test that may look for ever: false alarms are as rare as promised, true ones come."""

import random

import pytest

from farthing.caching.watch import Watch


def run(rate: float, num_requests: int, seed: int, watch: Watch) -> int | None:
    """The request at which it rang; None: it did not."""
    draw = random.Random(seed)
    for i in range(num_requests):
        shadowed_wrong = draw.random() < rate * watch.shadow_share
        watch.request(shadowed=shadowed_wrong, wrong=shadowed_wrong)
        if watch.broken:
            return i
    return None


def make() -> Watch:
    return Watch(budget=0.02, shadow_share=0.5, alpha=0.1, block=500)


def test_false_alarms_at_the_budget_itself_are_rarer_than_alpha():
    alarms = sum(run(0.02, 4_000, seed, make()) is not None for seed in range(200))
    assert alarms <= 30  # 10% of 200 and three standard deviations


def test_twice_the_budget_rings():
    assert sum(run(0.06, 6_000, seed, make()) is not None for seed in range(40)) >= 38


def test_a_long_good_past_does_not_hide_a_bad_present():
    """With one bet from the beginning alone, the evidence of the past would have to be lived down first."""
    rang, alone = [], []
    for seed in range(10):
        for block, told in ((500, rang), (10**9, alone)):
            watch = Watch(budget=0.02, shadow_share=0.5, alpha=0.1, block=block)
            run(0.0, 20_000, seed, watch)
            told.append(run(0.10, 8_000, seed, watch) or 8_000)
    assert max(rang) < 2_000 and sum(rang) < 0.7 * sum(alone)


def test_the_upper_bound_covers_and_shrinks():
    covered = 0
    for seed in range(100):
        watch = Watch(budget=0.5, shadow_share=0.5, alpha=0.1)
        run(0.01, 3_000, seed, watch)
        covered += watch.upper_bound() >= 0.01
        assert watch.upper_bound() < 0.05
    assert covered >= 81


@pytest.mark.parametrize("knob", ["budget", "shadow_share", "alpha"])
def test_shares_are_checked(knob):
    with pytest.raises(ValueError, match=f"{knob} is 0"):
        Watch(**{"budget": 0.1, "shadow_share": 0.1, knob: 0.0})
