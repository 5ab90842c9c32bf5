"""Ask and tell: the order of trials, what is learned from them, and when asking ends."""

from dataclasses import replace

import pytest

from farthing.selection.search import Search
from farthing.selection.space import pairs
from farthing.types import MemberRef

from .builders import proposal, trial


def search(*proposals, **knobs):
    return Search(proposals=list(proposals), baseline_usd=10.0, **knobs)


def test_a_lossless_build_comes_first_then_the_best_predicted():
    plain, int8 = proposal(2.0), proposal(5.0, "fast", "int8")
    asked = search(plain, int8)
    assert asked.ask() is plain
    asked.tell(plain, trial(5.0, plain.build))
    assert asked.ask() is int8


def test_a_rejected_lossless_build_is_followed_by_the_next_one():
    first, second, int8 = proposal(3.0), proposal(2.0, "slow"), proposal(9.0, "fast", "int8")
    asked = search(first, second, int8)
    asked.tell(first, trial(1.0, first.build, rejected="open"))
    assert asked.ask() is second


def test_what_one_trial_shows_is_expected_of_builds_that_share_its_members():
    told, kin, stranger = proposal(4.0, "fast", "int8"), proposal(4.0, "slow", "int8"), proposal(4.0, "slow", "bf16")
    asked = search(told, kin, stranger)
    before = asked.predicted_usd(kin)
    asked.tell(told, trial(20.0, told.build))  # eight times dearer than predicted
    assert asked.predicted_usd(kin) > 1.5 * before
    assert asked.predicted_usd(stranger) == pytest.approx(before)


def test_asking_ends_when_nothing_can_be_cheaper_than_what_keeps_the_floor():
    best, others = proposal(5.0), [proposal(1.0, f"slow{i}", "int8") for i in range(4)]
    asked = search(best, *others, least_trials=1)
    asked.tell(best, trial(0.5, best.build))
    assert asked.ask() is None
    assert asked.untried() == others


def test_a_cheap_but_doubtful_build_does_not_end_the_search():
    doubtful, other = proposal(5.0, "fast", "int8"), proposal(1.0, "slow", "bf16")
    asked = search(doubtful, other, least_trials=1)
    asked.tell(doubtful, trial(0.1, doubtful.build, convincing=False))
    assert asked.ask() is other
    assert asked.best_usd() == 0.1


def test_each_build_is_asked_once():
    proposals = [proposal(1.0 + i, f"r{i}") for i in range(5)]
    asked, seen = search(*proposals, least_trials=99), []
    while (one := asked.ask()) is not None:
        seen.append(one)
        asked.tell(one, trial(5.0, one.build))
    assert sorted(map(id, seen)) == sorted(map(id, proposals))


def cut(speedup, keep, *methods, runtime="fast", repaired=True):
    """A build that keeps `keep` of its blocks, repaired, then quantized by `methods`."""
    made = proposal(speedup, runtime, "drop", *["repair"] * repaired, *methods, cut="drop", daring=1 / keep, repaired=repaired)
    drop = MemberRef(name="drop", knobs=(("keep", keep),))
    return replace(made, build=replace(made.build, recipe=(drop, *made.build.recipe[1:])))


def test_the_mildest_cut_comes_first_and_the_next_when_it_keeps_the_floor():
    mild, daring = cut(2.0, 0.5), cut(4.0, 0.25)
    asked = search(mild, daring)
    assert asked.ask() is mild
    asked.tell(mild, trial(5.0, mild.build))
    assert asked.ask() is daring


def test_a_cut_build_waits_for_whole_ones_unless_they_cannot_win():
    int8 = proposal(3.0, "fast", "int8")
    cut_int8 = cut(4.0, 0.5, "int8")
    asked = search(cut_int8, int8)
    assert asked.ask() is int8
    asked.tell(int8, trial(3.0, int8.build))
    assert asked.ask() is cut_int8
    hopeless = search(cut_int8, int8, proposal(2.0, "other"), least_trials=9)
    hopeless.tell(hopeless.proposals[2], trial(0.2, hopeless.proposals[2].build))
    assert hopeless.ask() is cut_int8


def test_a_cut_that_does_not_convince_is_not_followed_by_a_more_daring_one():
    mild, daring, other = cut(2.0, 0.5), cut(4.0, 0.25), proposal(1.5, "slow", "int8")
    asked = search(mild, daring, other, least_trials=9)
    asked.tell(mild, trial(5.0, mild.build, convincing=False))
    assert asked.ask() is other


def test_what_contains_a_recipe_that_failed_is_hopeless():
    int8, both, elsewhere = proposal(3.0, "fast", "int8"), proposal(4.0, "fast", "int8", "bf16"), proposal(2.0, "slow", "int8")
    milder = proposal(1.5, "fast", "bf16")
    asked = search(int8, both, elsewhere, milder)
    asked.tell(int8, trial(1.0, int8.build, rejected="race"))
    assert asked.ask() is milder
    assert asked.stopped_by(both) is int8 and asked.stopped_by(elsewhere) is int8 and asked.stopped_by(milder) is None


def test_a_crash_says_nothing_about_quality():
    int8, elsewhere = proposal(3.0, "fast", "int8"), proposal(2.0, "slow", "int8")
    asked = search(int8, elsewhere)
    asked.tell(int8, trial(1.0, int8.build, rejected="open"))
    assert asked.ask() is elsewhere


def test_a_cut_that_failed_stops_the_more_daring_ones_but_not_a_repaired_one():
    bare, bare_more, repaired = cut(2.0, 0.5, repaired=False), cut(2.0, 0.25, "int8", repaired=False), cut(2.0, 0.5)
    asked = search(bare, bare_more, repaired)
    asked.tell(bare, trial(1.0, bare.build, rejected="race"))
    assert asked.stopped_by(bare_more) is bare
    assert asked.stopped_by(repaired) is None


def test_when_nothing_else_is_worth_trying_cut_builds_are_paired_with_the_best_that_convinces():
    dear, cut = proposal(4.0, "fast", "int8"), proposal(8.0, "fast", "drop", cut="drop", daring=2.0, repaired=True)
    asked = []

    def record(cuts, best, usd_of, baseline_usd):
        asked.append((cuts, best, usd_of(best), usd_of(cuts[0])))
        return [proposal(9.0, "cascade", "cascade")]

    search = Search(proposals=[dear, cut], baseline_usd=100.0, least_trials=1, cascades=record)
    search.tell(dear, trial(20.0, dear.build))
    failed = trial(0.0, cut.build, rejected="race")
    search.tell(cut, replace(failed, candidate=replace(failed.candidate, cost=None)))
    paired = search.ask()
    assert paired is not None and paired.build.runtime.name == "cascade"
    ((cuts, best, best_usd, cut_usd),) = asked
    assert (cuts, best, best_usd) == ([cut], dear, 20.0) and cut_usd < 20.0
    search.tell(paired, trial(11.0, paired.build))
    assert search.ask() is None and len(asked) == 1


def test_pairs_say_how_sure_the_cheap_one_must_be():
    dear, cut = proposal(4.0, "fast", "int8"), proposal(8.0, "fast", "drop", cut="drop")
    found = pairs([cut], dear, {dear: 20.0, cut: 6.0}.__getitem__, 100.0, feasible=lambda b: True, max_drop=0.01)
    assert [dict(p.build.recipe[0].knobs)["agreement"] for p in found] == [0.99, 0.98]
    assert found[0].predicted_speedup == pytest.approx(100 / (6 + 0.3 * 20))
    assert pairs([cut], dear, {dear: 20.0, cut: 6.0}.__getitem__, 100.0, feasible=lambda b: False, max_drop=0.01) == []
