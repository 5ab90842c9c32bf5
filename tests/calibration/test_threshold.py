"""The threshold: in at most alpha of all repetitions does it let through more wrong hits than allowed."""

import numpy as np
import pytest

from farthing.calibration import calibrate, threshold
from farthing.calibration.replay import filled, hits, stream, take, wrong
from farthing.calibration.threshold import Terms
from farthing.errors import DataError

COSINES = (0.98, 0.95, 0.92, 0.9, 0.88, 0.87, 0.86, 0.85, 0.84, 0.83, 0.82, 0.8, 0.75)
TERMS = Terms(budget=0.05, max_entries=60, alpha=0.1, cosines=COSINES)


def differs(one, other):
    return one != other


def no_guard(one, other):
    return None


def world(draw, num_texts, spread=0.15, num_topics=60, width=8):
    """Texts scattered around topics; the answer is the topic, or, near its rim, another one's."""
    topics = np.random.default_rng(99).standard_normal((num_topics, width))
    topics /= np.linalg.norm(topics, axis=1, keepdims=True)
    of = draw.integers(0, num_topics, num_texts)
    vectors = topics[of] + spread * draw.standard_normal((num_texts, width))
    return [f"text {draw.integers(1 << 60):x}" for _ in range(num_texts)], vectors, of.tolist()


def test_filling_in_chunks_is_filling_one_by_one(monkeypatch):
    texts, vectors, answers = world(np.random.default_rng(0), 300)
    arrivals = stream(texts, vectors, answers)
    kept = []
    for i, vector in enumerate(arrivals.vectors):
        if not kept or (arrivals.vectors[kept] @ vector).max() < 0.85:
            kept.append(i)
    for size in (7, 256, 1_000):
        monkeypatch.setattr("farthing.calibration.replay.CHUNK", size)
        assert filled(arrivals, 0.85, 10_000, no_guard).tolist() == kept
        assert filled(arrivals, 0.85, 20, no_guard).tolist() == kept[:20]


def test_a_text_counts_once():
    found = stream(["a", "b", "a", "c"], np.eye(4), [1, 2, 3, 4])
    assert list(found.texts) == ["a", "b", "c"] and list(found.answers) == [1, 2, 4]
    assert np.array_equal(found.vectors, np.eye(4)[[0, 1, 3]])


def exceeds(choose, seed):
    """Whether what was chosen lets through more than the budget, the truth told by ten thousand fresh requests."""
    draw = np.random.default_rng(seed)
    texts, vectors, answers = world(draw, 700)
    found = choose(texts, vectors, answers)
    if found is None:
        return False
    arrivals = stream(texts, vectors, answers)
    held = take(arrivals, filled(arrivals.part(0, 350), found, TERMS.max_entries, no_guard))
    fresh = stream(*world(draw, 4_000))
    return wrong(fresh, held, hits(fresh, held, found, no_guard), differs).mean() > TERMS.budget


def by_bound(texts, vectors, answers):
    found = calibrate(texts, vectors, answers, differs=differs, terms=TERMS, guard=no_guard).threshold
    return None if found is None else found.cosine


def test_more_than_the_budget_in_at_most_alpha_of_repetitions():
    rate = np.mean([exceeds(by_bound, seed) for seed in range(150)])
    assert rate <= TERMS.alpha + 2.5 * np.sqrt(TERMS.alpha * (1 - TERMS.alpha) / 150)


def test_without_the_bound_it_would_be_broken(monkeypatch):
    """The same with the share that was seen in the place of its bound: the simulation can see a broken promise."""
    monkeypatch.setattr(threshold, "clopper_pearson", lambda seen, n, alpha: (seen / n, seen / n))
    rate = np.mean([exceeds(by_bound, seed) for seed in range(60)])
    assert rate > TERMS.alpha + 2.5 * np.sqrt(TERMS.alpha * (1 - TERMS.alpha) / 60)


def at_the_margin(monkeypatch, seed):
    """A world in which every threshold is at the budget exactly, each with wrong hits of its own."""
    draw = np.random.default_rng(seed)

    def trial(arrivals, num_fill, cosine, differs, guard, terms):
        seen = int(draw.binomial(500, terms.budget))
        upper = threshold.clopper_pearson(seen, 500, terms.alpha)[1]
        return threshold.Trial(cosine=cosine, num_entries=60, num_requests=500, num_hits=400, num_wrong=seen, upper_bound=upper)

    monkeypatch.setattr(threshold, "_try", trial)
    found = calibrate(*world(draw, 200), differs=differs, terms=TERMS, guard=no_guard)
    one_by_one = [trial(None, 0, cosine, None, None, TERMS).upper_bound < TERMS.budget for cosine in COSINES]
    return found.threshold is not None, any(one_by_one)


def test_trying_many_thresholds_is_paid_for(monkeypatch):
    """The fixed sequence lets one through in at most alpha; picking any that passes would do so far more often."""
    corrected, uncorrected = np.mean([at_the_margin(monkeypatch, seed) for seed in range(400)], axis=0)
    assert corrected <= TERMS.alpha + 2.5 * np.sqrt(TERMS.alpha * (1 - TERMS.alpha) / 400)
    assert uncorrected > 0.3


def test_a_world_without_wrong_hits_is_used_to_the_full():
    texts, vectors, _ = world(np.random.default_rng(0), 700)
    found = calibrate(texts, vectors, [1] * 700, differs=differs, terms=TERMS, guard=no_guard)
    assert found.threshold is not None and found.threshold.cosine == COSINES[-1]
    assert len(found.trials) == len(COSINES) and "hits, 0 of them wrong" in found.reason
    assert found.threshold.max_entries == found.trials[-1].num_entries


def test_a_world_of_wrong_hits_gets_no_cache():
    texts, vectors, _ = world(np.random.default_rng(0), 700, spread=0.05)
    found = calibrate(texts, vectors, list(range(700)), differs=differs, terms=TERMS, guard=no_guard)
    assert found.threshold is None and "No semantic cache" in found.reason


@pytest.mark.parametrize(
    ("num_texts", "terms", "message"),
    [
        (100, Terms(budget=0.05, max_entries=60), "100 distinct texts: 60 fill a cache of 60 entries, and 59 more"),
        (0, Terms(budget=0.05, max_entries=60), "0 distinct texts"),
    ],
)
def test_too_few_texts_are_told(num_texts, terms, message):
    with pytest.raises(DataError, match=message):
        calibrate(*world(np.random.default_rng(0), num_texts), differs=differs, terms=terms)


@pytest.mark.parametrize("knobs", [{"budget": 0.0}, {"budget": 1.0}, {"alpha": 0.0}, {"max_entries": 0}, {"cosines": ()}])
def test_terms_are_checked(knobs):
    with pytest.raises(DataError):
        Terms(**{"budget": 0.1, "max_entries": 10} | knobs)
