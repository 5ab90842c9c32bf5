"""Service times: the fit finds what made them, and a machine that slows down changes no ratio."""

import pytest

from farthing.measurement.service import (
    DROWNED,
    FINAL_ROUNDS,
    ROUNDS,
    Yardstick,
    drowned,
    fit_service,
    measure,
    normalized,
    side_by_side,
)  # fmt: skip
from farthing.results import ServiceTimes

SHAPES = [(1, 16), (1, 128), (8, 40), (8, 128), (32, 16), (32, 40)]
TRUTH = (0.002, 0.0003, 2e-5, 1e-7)


def seconds(batch, length):
    c0, c1, c2, c3 = TRUTH
    return c0 + batch * (c1 + c2 * length + c3 * length**2)


def times(drift=(1.0,) * ROUNDS, shapes=SHAPES):
    return ServiceTimes(
        threads=1, streams=1, batch_sizes=tuple(b for b, _ in shapes), lengths=tuple(n for _, n in shapes),
        seconds=tuple(tuple(seconds(b, n) * d for d in drift) for b, n in shapes),
        baseline_seconds=tuple((0.01 * d,) for d in drift), host_s=0.0001,
    )  # fmt: skip


def test_the_fit_finds_the_coefficients():
    model = fit_service(times(), 0.01)
    assert model.coefficients == pytest.approx(TRUTH, rel=1e-6)
    assert model.relative_error < 1e-9
    assert model.seconds(16, 64) == pytest.approx(seconds(16, 64) + 16 * 0.0001)


def test_fixed_lengths_are_fitted_by_overhead_and_items_alone():
    model = fit_service(times(shapes=[(1, 1), (8, 1), (32, 1)]), 0.01)
    assert model.coefficients[2:] == (0.0, 0.0)
    assert model.seconds(8, 1) == pytest.approx(seconds(8, 1) + 8 * 0.0001)


def test_a_machine_that_slows_down_forty_times_changes_nothing():
    drift = (1.0, 40.0, 1.0, 7.0, 2.0)
    assert fit_service(times(drift), 0.01).coefficients == pytest.approx(TRUTH, rel=1e-6)
    assert normalized(times(drift), 0.01)[0] == pytest.approx([seconds(1, 16)] * ROUNDS)


class Turn:
    """A worker whose rounds take the times of a list, the last one for ever."""

    def __init__(self, name, order, *seconds):
        self.name, self.order, self.seconds = name, order, list(seconds)

    def call(self, function, shapes, least_s):
        self.order.append(self.name)
        seconds = self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        return [seconds] * len(shapes)


def timed(order, *baseline_s, joules=None):
    candidate, baseline = Turn("candidate", order, 0.002), Turn("baseline", order, *baseline_s)
    yardstick = Yardstick(worker=baseline, shape=(1, 40), expected_s=0.01)
    return measure(candidate, yardstick, shapes=SHAPES, layout=(1, 1), joules=joules)


def test_the_baseline_takes_its_turn_in_every_round():
    order = []
    found = timed(order, 0.01)
    assert order == ["baseline", "candidate"] * ROUNDS
    assert len(found.baseline_seconds) == ROUNDS
    assert {len(series) for series in found.seconds} == {ROUNDS}


def test_a_round_in_which_the_yardstick_is_far_off_is_timed_again():
    found = timed([], 0.01, 0.1, 0.12, 0.011, 0.2, 0.01)
    assert [s for (s,) in found.baseline_seconds] == [0.01, 0.011, 0.01, 0.01, 0.01]


def test_a_machine_that_stays_slower_is_taken_as_it_is():
    found = timed([], 0.03)
    assert [s for (s,) in found.baseline_seconds] == [0.03] * ROUNDS


def test_times_beside_an_original_that_was_held_up_are_turned_down():
    told = drowned(timed([], 0.14), 0.01)
    assert told is not None and "the original took 140 ms where it takes 10 ms" in told
    assert drowned(timed([], 0.01 * DROWNED * 0.9), 0.01) is None
    assert drowned(timed([], 0.001), 0.01) is None  # faster than it was: the machine was busy before


def test_a_sensor_gives_the_watts_of_the_candidates_rounds_alone(monkeypatch):
    clock, counter, order = [0.0], [0.0], []

    class Drawing(Turn):
        def call(self, function, shapes, least_s):
            clock[0] += 2.0
            counter[0] += {"candidate": 30.0, "baseline": 1000.0}[self.name]
            return super().call(function, shapes, least_s)

    monkeypatch.setattr("farthing.measurement.service.time.perf_counter", lambda: clock[0])
    candidate, baseline = Drawing("candidate", order, 0.002), Drawing("baseline", order, 0.01)
    yardstick = Yardstick(worker=baseline, shape=(1, 40), expected_s=0.01)
    found = measure(candidate, yardstick, shapes=SHAPES, layout=(1, 1), joules=lambda: counter[0])
    assert found.watts == pytest.approx(15.0)
    assert fit_service(found, 0.01).watts == found.watts
    assert timed([], 0.01).watts is None


class Told:
    """A worker whose rounds take the seconds that it was given, in turn."""

    def __init__(self, *seconds):
        self.seconds = iter(seconds)

    def call(self, function, shapes, least_s):
        return [next(self.seconds)]


def test_side_by_side_takes_a_disturbed_round_again_and_divides_by_the_yardstick_around_it():
    yardstick = Told(0.01, 0.01, *(0.01, 0.04), *(0.01, 0.012) * FINAL_ROUNDS)
    candidate = Told(0.1, 9.9, *(0.11,) * FINAL_ROUNDS)
    (got,) = side_by_side([(candidate, (1, 1))], Yardstick(worker=yardstick, shape=(1, 1), expected_s=0.01))
    assert got.tolist() == pytest.approx([0.1] * FINAL_ROUNDS)
