"""One floor over all parts: how it is divided, and that the whole is judged as one."""

import numpy as np
import pytest

from farthing.caching.semantic import Threshold
from farthing.calibration.budget import Verify, certify_cached, differs_by, divide
from farthing.calibration.replay import stream
from farthing.errors import JobError
from farthing.types import Floor

ACCURACY = Floor(metric="accuracy", max_drop=0.04)


def test_a_budget_is_divided_by_shares_and_by_what_an_answer_can_cost():
    shares = {"cache": 0.5, "cascade": 0.25, "compression": 0.25}
    assert divide(ACCURACY, shares) == pytest.approx({"cache": 0.02, "cascade": 0.01, "compression": 0.01})
    assert divide(Floor(metric="cosine", max_drop=0.04), {"cache": 1.0}) == pytest.approx({"cache": 0.02})


@pytest.mark.parametrize(
    ("floor", "shares", "message"),
    [
        (ACCURACY, {"cache": 0.8, "cascade": 0.3}, "sum to at most 1"),
        (ACCURACY, {"cache": -0.1}, "0 or more"),
        (ACCURACY, {}, "0 or more"),
        (Floor(metric="spearman", max_drop=0.01), {"cache": 1.0}, "no mean of bounded scores"),
        (Floor(metric="accuracy", minimum=0.9), {"cache": 1.0}, "no max_drop to divide"),
    ],
)
def test_what_cannot_be_divided_is_told(floor, shares, message):
    with pytest.raises(JobError, match=message):
        divide(floor, shares)


def test_answers_differ_in_the_sense_of_the_metric():
    by_class = differs_by("accuracy")
    assert not by_class(np.array([0.1, 0.9]), np.array([0.4, 0.6])) and by_class(np.array([0.9, 0.1]), np.array([0.4, 0.6]))
    by_class = differs_by("argmax_agreement")
    assert not by_class(np.array([0.1, 0.9]), np.array([0.4, 0.6])) and by_class(np.array([0.9, 0.1]), np.array([0.4, 0.6]))
    by_angle = differs_by("cosine", tolerance=0.1)
    assert not by_angle(np.array([1.0, 0.0]), np.array([2.0, 0.2])) and by_angle(np.array([1.0, 0.0]), np.array([1.0, 1.0]))
    with pytest.raises(JobError, match="does not compare two answers"):
        differs_by("spearman")


def parts(num_wrong):
    """1,000 items, each beside a text of the past, whose answer is that of another class for so many."""
    scores = np.eye(4)[np.arange(1_000) % 4]
    vectors = np.random.default_rng(0).standard_normal((1_000, 64))
    other = np.roll(scores, 1, axis=1)
    past_answers = np.where((np.arange(1_000) < num_wrong)[:, None], other, scores)
    past = stream([f"past {i:x}x" for i in range(1_000)], vectors, list(past_answers))
    requests = stream([f"now {i:x}x" for i in range(1_000)], vectors + 0.01, list(scores))
    return Verify(requests=requests, original=scores, labels=scores.argmax(axis=1)), past


@pytest.mark.parametrize(("num_wrong", "verdict"), [(0, "PASS"), (20, "PASS"), (39, "INCONCLUSIVE"), (80, "FAIL")])
def test_cache_and_model_are_certified_as_one(num_wrong, verdict):
    verify, past = parts(num_wrong)
    threshold = Threshold(cosine=0.9, budget=0.04, max_entries=1_000, alpha=0.05)
    whole = certify_cached(verify, past, threshold, ACCURACY, guard=lambda one, other: None)
    assert [c.verdict for c in whole.certificates] == [verdict] and whole.certified == (verdict == "PASS")
    assert whole.num_hits == 1_000
    assert whole.certificates[0].drop == pytest.approx(num_wrong / 1_000)


def test_a_smaller_cache_and_a_guard_change_what_is_certified():
    verify, past = parts(80)
    threshold = Threshold(cosine=0.9, budget=0.04, max_entries=10, alpha=0.05)
    assert certify_cached(verify, past, threshold, ACCURACY, guard=lambda one, other: None).num_hits <= 15
    whole = certify_cached(verify, past, threshold, ACCURACY, guard=lambda one, other: "always")
    assert whole.num_hits == 0 and whole.certified
