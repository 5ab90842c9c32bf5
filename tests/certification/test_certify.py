"""Certificates: verdicts, what is missing, slices and multiplicity, and data that cannot be judged."""

import numpy as np
import pytest

from farthing.certification import certify
from farthing.certification.certify import holm
from farthing.errors import DataError, JobError
from farthing.results import Certificate, Evidence
from farthing.types import Floor

ALPHA = 0.05
DRAW = np.random.default_rng(0)


def agreement(num_items: int, num_lost: int, slices: dict[str, np.ndarray] | None = None) -> Evidence:
    """Class labels of an original that is always right, and of a candidate that loses the first so many."""
    original = np.ones(num_items, dtype=int)
    candidate = original.copy()
    candidate[:num_lost] = 0
    return Evidence(original=original, candidate=candidate, labels=original, slices=slices or {})


def one(evidence: Evidence, floor: Floor, alpha: float = ALPHA) -> Certificate:
    (certificate,) = certify(evidence, floor, alpha=alpha)
    return certificate


def test_pass_fail_and_in_between() -> None:
    floor = Floor(metric="accuracy", max_drop=0.02)
    passed, unclear, failed = (one(agreement(1000, lost), floor) for lost in (5, 15, 60))
    assert (passed.verdict, unclear.verdict, failed.verdict) == ("PASS", "INCONCLUSIVE", "FAIL")
    assert passed.upper_bound < 0.02 <= unclear.upper_bound
    assert failed.drop == pytest.approx(0.06)
    assert (passed.original, passed.candidate, passed.num_items) == (1.0, 0.995, 1000)
    assert passed.items_missing == failed.items_missing == 0 < unclear.items_missing


def test_items_missing_settle_it() -> None:
    floor = Floor(metric="accuracy", max_drop=0.02)
    unclear = one(agreement(1000, 15), floor)
    enough = 1000 + unclear.items_missing
    assert one(agreement(enough, round(0.015 * enough)), floor).verdict == "PASS"
    fewer = 1000 + unclear.items_missing // 2
    assert one(agreement(fewer, round(0.015 * fewer)), floor).verdict == "INCONCLUSIVE"


def test_too_little_data_says_what_it_can_certify() -> None:
    floor = Floor(metric="argmax_agreement", max_drop=0.01)
    few = one(agreement(100, 0), floor)
    assert few.verdict == "INCONCLUSIVE"
    assert few.certifiable_drop == pytest.approx(0.0295, abs=0.001)  # three in a hundred may hide
    assert 100 + few.items_missing == pytest.approx(299, abs=1)  # 0.99 ** 299 is 0.05
    looser = Floor(metric="argmax_agreement", max_drop=few.certifiable_drop + 1e-6)
    assert one(agreement(100, 0), looser).verdict == "PASS"


def test_both_limits_hold_together() -> None:
    drop, minimum = certify(agreement(1000, 10), Floor(metric="accuracy", max_drop=0.05, minimum=0.999), alpha=ALPHA)
    assert (drop.verdict, minimum.verdict) == ("PASS", "FAIL")
    assert (drop.minimum, minimum.minimum) == (None, 0.999)
    assert minimum.drop == pytest.approx(0.009)
    assert minimum.candidate == pytest.approx(0.99)


def test_slices_are_judged_one_by_one() -> None:
    where = np.repeat(["big", "sick", "tiny"], [2000, 500, 10])
    evidence = agreement(2510, 0, {"where": where})
    evidence.candidate[where == "sick"] = DRAW.random(500) < 0.9
    floor = Floor(metric="accuracy", max_drop=0.05, slices="where", slice_max_drop=0.03)
    overall, *slices = certify(evidence, floor, alpha=ALPHA)
    assert overall.verdict == "PASS"
    assert overall.slice is None
    assert [(c.slice, c.verdict, c.max_drop) for c in slices] == [
        ("big", "PASS", 0.03),
        ("sick", "FAIL", 0.03),
        ("tiny", "INCONCLUSIVE", 0.03),
    ]
    assert slices[2].num_items == 10
    assert slices[2].items_missing > 50


def test_alpha_is_shared_by_the_slices_and_passed_on() -> None:
    evidence = agreement(900, 0, {"where": np.repeat(["a", "b", "c"], 300)})
    floor = Floor(metric="accuracy", max_drop=0.05, slices="where")
    evidence.candidate[600:608] = 0  # c: passes at alpha, not at alpha / 3
    _, a, b, c = certify(evidence, floor, alpha=ALPHA)
    assert a.alpha == b.alpha == pytest.approx(ALPHA / 3)
    assert c.alpha == pytest.approx(ALPHA)  # the others have passed, and left it theirs
    assert c.verdict == "PASS"


def test_a_slice_in_which_the_metric_is_undefined() -> None:
    draw = np.random.default_rng(1)
    labels, where = np.repeat([0, 1], 100), np.repeat(["a", "b"], 100)
    answers = labels + draw.standard_normal(200)
    where[50] = "b"  # b has both classes
    evidence = Evidence(original=answers, candidate=answers, labels=labels, slices={"where": where})
    overall, a, b = certify(evidence, Floor(metric="roc_auc", max_drop=0.1, slices="where"), alpha=ALPHA)
    assert overall.verdict == "PASS"
    assert (a.verdict, a.slice) == ("INCONCLUSIVE", "a")
    assert "one class" in a.protocol
    assert a.items_missing >= 1
    assert b.num_items == 101


def test_holm_against_the_definition() -> None:
    p = {"a": 0.011, "b": 0.02, "c": 0.03, "d": 0.2}  # Holm at 0.06: a < .015, b <= .02, c <= .03, d > .06
    levels = holm(p, 0.06, lambda key, level: (p[key] <= level, level), lambda result: result[0])
    assert [key for key, (passed, _) in levels.items() if passed] == ["a", "b", "c"]
    assert levels["d"][1] == pytest.approx(0.06)
    strict = holm(p, 0.04, lambda key, level: (p[key] <= level, level), lambda result: result[0])
    assert not any(passed for passed, _ in strict.values())
    assert holm({}, 0.05, lambda key, level: level, bool) == {}


def test_coverage_of_the_bootstrap_at_the_margin() -> None:
    """Losses that are skewed, with a mean right at the limit: at most 1 in 20 samples may pass (400 samples; 5 sd of room)."""
    floor, passed = Floor(metric="cosine", max_drop=0.05), 0
    for seed in range(400):
        draw = np.random.default_rng(seed)
        turn = np.arccos(1 - draw.gamma(1.0, 0.05, 200).clip(0, 2))
        evidence = Evidence(original=np.tile([1.0, 0.0], (200, 1)), candidate=np.stack([np.cos(turn), np.sin(turn)], axis=1))
        passed += one(evidence, floor).verdict == "PASS"
    assert 5 <= passed <= 32


def test_answers_that_are_not_finite_fail() -> None:
    evidence = agreement(100, 0)
    answers = evidence.candidate.astype(float)
    answers[3] = np.nan
    certificate = one(
        Evidence(original=evidence.original, candidate=answers, labels=evidence.labels), Floor(metric="rmse", max_drop=1)
    )
    assert certificate.verdict == "FAIL"
    assert "1 answers are NaN" in certificate.protocol


@pytest.mark.parametrize(
    ("changes", "floor", "message"),
    [
        ({"labels": None}, Floor(metric="accuracy", max_drop=0.1), "needs labels, and the data has none"),
        ({"labels": np.full(100, np.nan)}, Floor(metric="rmse", max_drop=0.1), "100 of 100 labels are NaN"),
        ({"original": np.full(100, np.inf)}, Floor(metric="rmse", max_drop=0.1), "answers of the original are NaN"),
        ({"candidate": np.ones(99)}, Floor(metric="rmse", max_drop=0.1), "'candidate': 99"),
        ({}, Floor(metric="macro_f1", max_drop=0.1), "undefined on one class"),
        (
            {},
            Floor(metric="accuracy", max_drop=0.1, slices="place"),
            "asks for slices by 'place'; the data has these columns: none",
        ),
    ],
)
def test_data_that_cannot_be_judged(changes: dict[str, np.ndarray], floor: Floor, message: str) -> None:
    parts = {"original": np.ones(100), "candidate": np.ones(100), "labels": np.ones(100)} | changes
    with pytest.raises(DataError, match=message):
        certify(Evidence(**parts), floor, alpha=ALPHA)  # type: ignore[arg-type]


def test_empty_data_and_empty_floors() -> None:
    with pytest.raises(DataError, match="there are"):
        certify(agreement(0, 0), Floor(metric="accuracy", max_drop=0.1), alpha=ALPHA)
    with pytest.raises(JobError, match="neither max_drop nor minimum"):
        certify(agreement(10, 0), Floor(metric="accuracy"), alpha=ALPHA)
