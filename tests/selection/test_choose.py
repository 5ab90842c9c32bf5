"""The choice: the cheapest of what is certified and fast enough; ties by margin; the front; and what to relax."""

from dataclasses import replace
from types import SimpleNamespace

from farthing.results import Prediction, Rejected
from farthing.selection import choose
from farthing.selection.choose import pareto_front, relaxations
from farthing.selection.search import Search
from farthing.types import Floor, Slo

from .builders import build, candidate, certificate, figure

JOB = SimpleNamespace(
    name="job", digest="d", floors=(Floor(metric="accuracy", max_drop=0.01),), slo=Slo(latency_p99_s=0.05), traffic=None,
    seed=0, notes=(), splits=SimpleNamespace(train=[], calibrate=[], search=[], verify=[]),
)  # fmt: skip
BASELINE = candidate(10.0, build("native"))


def decide(*finalists, baseline=BASELINE):
    return choose(JOB, None, baseline, list(finalists), Search(proposals=[], baseline_usd=10.0))


def test_the_cheapest_certified_finalist_wins():
    cheap, dear = (candidate(usd, build(f"r{usd}"), certificates=[certificate(0.005)]) for usd in (2.0, 5.0))
    decision = decide(dear, cheap)
    assert (decision.verdict, decision.chosen) == ("saves", cheap)


def test_what_failed_is_turned_down_with_its_reason_however_cheap():
    failed = candidate(1.0, build("cheap"), rejected=Rejected(stage="certify", reason="FAIL"))
    decision = decide(failed)
    assert decision.verdict == "keep"
    assert decision.chosen is BASELINE
    assert failed in decision.rejected


def test_a_tie_goes_to_the_larger_certified_margin():
    narrow = candidate(2.0, build("a"), certificates=[certificate(0.0099)])
    wide = candidate(2.01, build("b"), certificates=[certificate(0.001)])
    assert decide(narrow, wide).chosen is wide


def test_costs_are_told_from_rounds_that_the_choice_did_not_go_by():
    """`a` looked cheaper while choosing and is told dearer: it stays the choice."""
    ratios = {"a": (0.20, 0.22), "b": (0.21, 0.21)}
    a, b = (
        replace(
            candidate(10.0 * told, build(name), certificates=[certificate(0.005)]),
            figures=(figure("choosing_ratio", choosing), figure("cost_ratio", told)),
        )
        for name, (choosing, told) in ratios.items()
    )
    assert decide(a, b).chosen is a
    assert decide(a, b).chosen.cost.usd_per_million == 2.2


def test_nothing_is_an_answer_where_the_baseline_misses_its_ceiling():
    slow = candidate(10.0, build("native"), p99=0.2, rejected=Rejected(stage="slo", reason="slow"))
    decision = decide(baseline=slow)
    assert (decision.verdict, decision.chosen) == ("nothing", None)
    assert any("latency_p99_s = 0.2 instead of 0.05" in demand for demand in decision.relax)


def test_relaxations_name_the_least_change_of_each_demand():
    near = candidate(1.0, certificates=[certificate(0.012, verdict="INCONCLUSIVE", missing=300)])
    far = candidate(1.0, certificates=[certificate(0.05, verdict="FAIL")])
    demands = relaxations(JOB, [far, near])
    assert any("max_drop = 0.012 instead of 0.01" in demand for demand in demands)
    assert any("300 more items" in demand for demand in demands)


def test_a_minimum_that_nothing_reaches_is_told_and_an_identity_is_no_evidence_about_it():
    job = SimpleNamespace(floors=(Floor(metric="accuracy", minimum=0.9),), slo=Slo())
    identity = replace(certificate(0.0), alpha=0.0)
    short = replace(certificate(0.07, verdict="FAIL", max_drop=0.0), minimum=0.9)
    assert relaxations(job, [candidate(1.0, certificates=[identity, short])]) == (
        "floor accuracy: minimum = 0.83 instead of 0.9 would certify one",
    )


def test_a_ceiling_whose_load_was_void_is_told_from_the_simulation():
    simulated = Prediction(name="latency_p99_s", value=0.3, unit="s", model="queue")
    void = replace(candidate(10.0, build("native")), figures=(), predictions=(simulated,))
    assert relaxations(JOB, [void]) == ("slo: latency_p99_s = 0.3 instead of 0.05 is the fastest that was simulated",)


def test_the_front_holds_what_nothing_beats():
    cheap, good, fast = candidate(1.0, drop=0.02, p99=0.03), candidate(3.0, drop=0.0, p99=0.03), candidate(4.0, p99=0.01)
    beaten = candidate(5.0, drop=0.02, p99=0.03)
    assert pareto_front([beaten, fast, good, cheap]) == (cheap, good, fast)
