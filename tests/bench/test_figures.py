"""What a tally says: percentiles refused, failures apart from what was shed, goodput, cost, and runs that say nothing."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

from farthing.bench import Bench, Load, document, line, table
from farthing.bench.figures import Lag, Percentile, Run, Second, figures
from farthing.bench.worker import Tally

ROOT = Path(__file__).parents[2]


def load(**changes):
    asked = {"url": "http://127.0.0.1:1/", "bodies": (b"1",), "rate_per_s": 100.0, "duration_s": 10.0, "usd_per_hour": 0.36}
    return Load(**asked | changes)


def tally(latencies_s, *, shed=0, failed=0, lag_s=1e-4, sent_s=10.0, ceiling_s=0.1, **changes):
    latency, lag = Tally().latency, Tally().lag
    for value_s in latencies_s:
        latency.record_value(int(value_s * 1e6))
    outcomes = {"200": len(latencies_s), "503": shed, "500": failed}
    for _ in range(sum(outcomes.values())):
        lag.record_value(int(lag_s * 1e6))
    done = Tally(
        latency=latency, lag=lag, num_in_time=sum(s <= ceiling_s for s in latencies_s), intended_s=(1.0, 11.0),
        sent_s=(1.0, 1.0 + sent_s), ended_s=11.0,
    )  # fmt: skip
    done.outcomes.update(outcomes)
    for name, value in changes.items():
        setattr(done, name, value)
    return done


def test_percentiles_with_intervals_only_where_there_are_samples():
    latencies_s = np.linspace(0.001, 0.1, 1000)
    run = figures(load(), tally(latencies_s))
    assert [found.p for found in run.percentiles] == [50, 90, 95, 99]
    p99 = run.percentiles[-1]
    assert p99.value_s == pytest.approx(np.sort(latencies_s)[989], rel=1e-3)
    assert p99.low_s < p99.value_s < p99.high_s <= run.max_s == pytest.approx(0.1, rel=1e-3)
    assert [found.p for found in figures(load(), tally(latencies_s[:298])).percentiles] == [50, 90, 95]
    assert "not told, it needs 2,995 answers" in table(load(), Bench(runs=(run,)))


def test_shed_and_failed_are_apart_and_both_break_the_slo():
    asked = load(slo_p99_s=0.1)
    run = figures(asked, tally([0.01] * 980, shed=15, failed=5))
    assert (run.num_sent, run.num_good, run.num_shed, run.failures) == (1000, 980, 15, {"500": 5})
    assert run.percentiles[-1].value_s == pytest.approx(0.01, rel=1e-3) and run.slo_kept is False
    assert figures(asked, tally([0.01] * 991, shed=9)).slo_kept is True
    assert figures(asked, tally([0.01] * 985 + [0.2] * 15)).slo_kept is False
    assert figures(asked, tally([0.01] * 100)).slo_kept is None
    assert figures(load(), tally([0.01] * 1000)).slo_kept is None


def test_goodput_and_cost_count_good_answers_in_time():
    run = figures(load(slo_p99_s=0.1, machines=2), tally([0.01] * 500 + [0.5] * 300, shed=200))
    assert run.goodput_per_s == pytest.approx(50)
    assert run.usd_per_million == pytest.approx(0.36 * 2 / 3600 / 50 * 1e6)
    assert figures(load(usd_per_hour=None), tally([0.01] * 10)).usd_per_million is None
    nothing = figures(load(), tally([], failed=10))
    assert nothing.goodput_per_s == 0 and nothing.usd_per_million is None and nothing.max_s is None and not nothing.percentiles
    assert "no answers" in table(load(), Bench(runs=(nothing,)))


def test_without_an_slo_answers_that_come_after_the_end_take_their_time():
    assert figures(load(), tally([0.01] * 1000, ceiling_s=99, ended_s=21.0)).goodput_per_s == pytest.approx(50)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lag_s": 0.02}, "sent 20.0 ms late"),
        ({"sent_s": 11.0}, "offered 1/1.1 of the rate"),
        ({"num_waited": 500}, "found all 1000 connections busy"),
    ],
)
def test_a_run_that_its_generator_shaped_is_void(changes, says):
    run = figures(load(), tally([0.03] * 1000, **changes))
    assert says in run.void
    assert "VOID" in table(load(), Bench(runs=(run,))) and "void" in line(run)


def test_lag_is_judged_by_what_it_could_change():
    assert figures(load(), tally([0.3] * 1000, lag_s=0.02)).void is None
    assert figures(load(slo_p99_s=0.5), tally([0.03] * 1000, lag_s=0.02)).void is None


def test_a_broken_slo_stays_broken_however_many_waited_for_a_connection():
    assert figures(load(slo_p99_s=0.1), tally([0.3] * 1000, num_waited=900)).void is None
    assert figures(load(slo_p99_s=0.1), tally([0.05] * 1000, num_waited=900)).void is not None


def test_a_generator_out_of_files_is_void():
    done = tally([0.01] * 1000)
    done.outcomes["generator"] = 3
    assert "for 3 requests" in figures(load(), done).void


def test_tallies_of_processes_add_up():
    one, other = tally([0.01] * 500, sent_s=9.9, num_opened=3), tally([0.03] * 500, shed=7, num_opened=4, ended_s=12.0)
    one.timeline[0, "good"] = other.timeline[0, "good"] = 5
    one.slowest_s, other.slowest_s = {0: 0.2}, {0: 0.1, 1: 0.4}
    one.add(other)
    run = figures(load(), one)
    assert (run.num_sent, run.num_good, run.num_shed, run.num_connections) == (1007, 1000, 7, 7)
    assert one.sent_s == (1.0, 11.0) and one.ended_s == 12.0
    assert run.timeline[0] == Second(good=10, shed=0, failed=0, slowest_s=0.2)


def test_the_document_holds_everything_and_its_page_tells_each_key():
    run = figures(load(slo_p99_s=0.1), tally([0.01] * 1000))
    written = json.loads(
        document(load(slo_p99_s=0.1, headers=(("X-Key", "secret"),)), Bench(runs=(run,), knee=run, stopped="x"))
    )
    assert written["knee_per_s"] == 100 and written["runs"][0]["num_good"] == 1000
    assert "secret" not in json.dumps(written)
    histogram = HdrHistogram.decode(written["runs"][0]["histogram"])
    assert histogram.get_total_count() == 1000
    page = (ROOT / "docs" / "bench.md").read_text()
    keys = {*written, *written["load"], *(field.name for kind in (Run, Lag, Percentile, Second) for field in fields(kind))}
    assert not [key for key in keys if f"`{key}`" not in page]
