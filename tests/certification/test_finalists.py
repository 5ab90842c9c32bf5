"""Who is named a finalist, how alpha is shared among them, and how many items farthing calls sufficient."""

import math

import numpy as np
import pytest

from farthing.certification import certify_finalists, items_needed, name_finalists
from farthing.certification.finalists import places
from farthing.results import Evidence
from farthing.types import Array, Floor

FLOOR = Floor(metric="accuracy", max_drop=0.02)
N = 1000


def losing(num_lost: int, num_won: int = 0, n: int = N, slices: dict[str, Array] | None = None) -> Evidence:
    original = np.ones(n, dtype=int)
    original[:num_won] = 0
    candidate = np.ones(n, dtype=int)
    candidate[num_won : num_won + num_lost] = 0
    return Evidence(original=original, candidate=candidate, labels=np.ones(n, dtype=int), slices=slices or {})


def named(survivors: dict[str, Evidence], num_verify: int = N, floor: Floor = FLOOR) -> tuple[str, ...]:
    return name_finalists(survivors, [floor], num_verify=num_verify)


def test_the_cheapest_that_convince_come_first() -> None:
    doubtful = {f"doubtful{i}": losing(18) for i in range(5)}
    sound = {f"sound{i}": losing(3) for i in range(4)}
    assert named(doubtful | sound) == ("sound0", "sound1", "sound2")


def test_then_the_nearest_within_the_limit() -> None:
    assert named({"a": losing(19), "b": losing(15), "c": losing(40), "d": losing(2)}) == ("d", "b", "a")


def test_if_all_are_beyond_the_limit_the_single_nearest() -> None:
    assert named({"a": losing(40), "b": losing(30), "c": losing(50)}) == ("b",)
    assert named({}) == ()


def test_a_verify_split_too_small_convinces_nobody() -> None:
    survivors = {"worse": losing(3), "better": losing(0)}
    assert named(survivors, num_verify=N) == ("worse", "better")
    assert named(survivors, num_verify=100) == ("better", "worse")  # nearest first


def test_slices_are_looked_at() -> None:
    where = {"where": np.repeat(["a", "b"], N // 2)}
    concentrated, spread = losing(12, slices=where), losing(0, slices=where)
    floor = Floor(metric="accuracy", max_drop=0.05, slices="where", slice_max_drop=0.02)
    assert named({"concentrated": concentrated, "spread": spread}, floor=floor)[0] == "spread"


def test_too_few_items_on_search_still_name_one() -> None:
    draw = np.random.default_rng(0)
    labels = draw.standard_normal(10)
    tiny = Evidence(original=labels, candidate=labels, labels=labels)
    assert named({"a": tiny, "b": tiny}, floor=Floor(metric="spearman", max_drop=0.1)) == ("a",)


def test_alpha_is_split_by_holm() -> None:
    evidences = {"clear": losing(0), "close": losing(11), "bad": losing(60)}
    found = certify_finalists(evidences, [FLOOR], share=1.0)
    (clear,), (close,), (bad,) = found.values()
    assert list(found) == list(evidences)
    assert (clear.verdict, clear.alpha) == ("PASS", pytest.approx(0.05 / 3))
    assert (close.verdict, close.alpha) == ("PASS", pytest.approx(0.05 / 2))  # it would not at 0.05 / 3
    assert (bad.verdict, bad.alpha) == ("FAIL", pytest.approx(0.05))
    (halved,) = certify_finalists({"clear": losing(0)}, [FLOOR], share=0.5)["clear"]
    assert halved.alpha == pytest.approx(0.025)


def test_every_floor_must_pass_and_has_its_own_confidence() -> None:
    floors = [FLOOR, Floor(metric="macro_f1", minimum=0.5, confidence=0.99)]
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, N)
    answers = np.where(draw.random(N) < 0.9, labels, 1 - labels)
    first, second = certify_finalists({"only": Evidence(original=answers, candidate=answers, labels=labels)}, floors)["only"]
    assert (first.metric, second.metric) == ("accuracy", "macro_f1")
    assert (first.alpha, second.alpha) == (pytest.approx(0.05), pytest.approx(0.01))


def test_the_original_has_to_reach_a_minimum_and_nothing_else() -> None:
    floors = [FLOOR, Floor(metric="accuracy", minimum=0.95)]
    labels = np.arange(N) % 2
    good, poor = labels.copy(), np.where(np.arange(N) % 10 == 0, 1 - labels, labels)  # 1.0 and 0.9
    for answers, verdict in ((good, "PASS"), (poor, "FAIL")):
        evidence = Evidence(original=answers, candidate=answers, labels=labels)
        found = certify_finalists({"as it came": evidence, "other": evidence}, floors, original="as it came")
        assert [(c.minimum, c.verdict) for c in found["as it came"]] == [(None, "PASS"), (0.95, verdict)]
        assert [c.minimum for c in found["other"]] == [None, 0.95]
    assert (places(floors), places([FLOOR])) == (2, 3)


def test_the_original_takes_no_alpha_from_the_others() -> None:
    evidences = {"other": losing(0), "as it came": losing(0)}
    found = certify_finalists(evidences, [Floor(metric="accuracy", max_drop=1e-9)], original="as it came")
    assert (found["other"][0].verdict, found["other"][0].alpha) == ("INCONCLUSIVE", pytest.approx(0.05))
    assert (found["as it came"][0].verdict, found["as it came"][0].alpha) == ("PASS", 0.0)


def test_more_than_three_are_refused() -> None:
    with pytest.raises(AssertionError, match="at most 3"):
        certify_finalists({str(i): losing(0) for i in range(4)}, [FLOOR])


def test_items_needed_grow_as_the_limit_shrinks() -> None:
    evidence = losing(10, 10)
    needed = [items_needed(evidence, Floor(metric="accuracy", max_drop=drop)) for drop in (0.04, 0.02, 0.01)]
    assert needed[0] < needed[1] < needed[2]
    assert needed[2] == pytest.approx(
        ((2.128 + 0.842) / 0.01) ** 2 * 21 / 1002, rel=0.25
    )  # normal theory: (z + z)^2 q / drop^2
    assert items_needed(evidence, Floor(metric="accuracy", max_drop=0.01), share=0.2) > needed[2]


def test_items_needed_of_agreement_and_of_slices() -> None:
    assert items_needed(losing(0), Floor(metric="argmax_agreement", max_drop=0.01)) == pytest.approx(450, rel=0.02)
    assert items_needed(losing(20), Floor(metric="argmax_agreement", max_drop=0.01)) == math.inf
    where = {"where": np.repeat(["a", "b"], [900, 100])}
    whole = items_needed(losing(0, slices=where), FLOOR)
    assert items_needed(losing(0, slices=where), FLOOR, share=0.5) > whole
    half_alpha_on_a_tenth = 10 * items_needed(losing(0, n=100), FLOOR, share=0.5)
    sliced = Floor(metric="accuracy", max_drop=0.02, slices="where")
    assert items_needed(losing(0, slices=where), sliced) == pytest.approx(half_alpha_on_a_tenth, rel=0.01)


def test_items_needed_by_a_candidate_without_any_spread() -> None:
    vectors = np.random.default_rng(0).standard_normal((N, 8))
    floor = Floor(metric="cosine", max_drop=0.02)
    needed = int(items_needed(Evidence(original=vectors, candidate=vectors), floor))
    assert needed == pytest.approx(1.1 * math.log(60) / 0.02, rel=0.05)  # strangers' cosines are zero: a failure costs 1
    enough = np.random.default_rng(1).standard_normal((needed, 8))
    (certificate,) = certify_finalists({"x": Evidence(original=enough, candidate=enough)}, [floor], share=1 / 3)["x"]
    assert certificate.verdict == "PASS"


def test_a_statistic_is_certified_on_as_many_items_as_it_needs() -> None:
    """80% asked; of 60 searches at least 40 (3 sd below)."""
    floor, passed = Floor(metric="rmse", max_drop=0.03), 0

    def sample(draw: np.random.Generator, n: int) -> Evidence:
        labels, noise = draw.standard_normal(n), draw.standard_normal((3, n))
        return Evidence(original=labels + noise[0], candidate=labels + 0.95 * noise[0] + 0.3122 * noise[1], labels=labels)

    for seed in range(60):
        draw = np.random.default_rng(seed)
        needed = int(items_needed(sample(draw, 800), floor))
        (certificate,) = certify_finalists({"x": sample(draw, needed)}, [floor], share=1 / 3)["x"]
        passed += certificate.verdict == "PASS"
    assert passed >= 40
