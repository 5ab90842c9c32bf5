"""The race: it rejects the bad early, keeps the good at any number of looks, and takes malformed answers as a reason."""

from functools import partial

import numpy as np
import pytest

from farthing.certification import Race
from farthing.errors import DataError
from farthing.results import Evidence
from farthing.types import Array, Floor

N = 1000
ACCURACY = Floor(metric="accuracy", max_drop=0.02)
SPEARMAN = Floor(metric="spearman", max_drop=0.02)


def first(evidence: Evidence, n: int) -> Evidence:
    labels = None if evidence.labels is None else evidence.labels[:n]
    return Evidence(original=evidence.original[:n], candidate=evidence.candidate[:n], labels=labels)


def classified(seed: int, lost: float, n: int = N) -> Evidence:
    draw = np.random.default_rng(seed)
    original = (draw.random(n) < 0.9).astype(int)
    return Evidence(
        original=original, candidate=np.where(draw.random(n) < lost / 0.9, 0, original), labels=np.ones(n, dtype=int)
    )


def ranked(seed: int, noise: float, n: int = N) -> Evidence:
    draw = np.random.default_rng(seed)
    labels = draw.standard_normal(n)
    original = labels + 0.5 * draw.standard_normal(n)
    return Evidence(original=original, candidate=original + noise * draw.standard_normal(n), labels=labels)


def test_looks_grow_to_all_items() -> None:
    assert Race((ACCURACY,), 1000, 50).looks == (32, 64, 128, 256, 512, 1000)
    assert Race((SPEARMAN,), 1000, 50).looks == (32, 64, 128, 250, 256, 500, 512, 1000)
    assert Race((ACCURACY,), 20, 50).looks == (20,)
    assert Race((ACCURACY,), 64, 50).looks == (32, 64)
    assert Race((SPEARMAN,), 20, 50).looks == (20,)


@pytest.mark.parametrize(
    ("floor", "evidence", "most_items"),
    [(ACCURACY, classified(0, 0.5), 64), (ACCURACY, classified(0, 0.15), 512), (SPEARMAN, ranked(0, 1.0), 250)],
)
def test_the_bad_die_early(floor: Floor, evidence: Evidence, most_items: int) -> None:
    seen, reason = Race((floor,), N, 50).run(partial(first, evidence))
    assert len(seen.original) <= most_items
    assert reason is not None
    assert reason.startswith(f"{floor.metric} falls by 0.")
    assert f"on {len(seen.original)} items, more than the 0.02 allowed" in reason


def test_a_constant_small_loss_is_caught_by_a_bounded_mean() -> None:
    original = np.tile([1.0, 0.0], (N, 1))
    candidate = np.tile([np.cos(0.3), np.sin(0.3)], (N, 1))  # 0.045 each, limit 0.01, though cosines reach down to -1
    seen, reason = Race((Floor(metric="cosine", max_drop=0.01),), N, 50).run(
        partial(first, Evidence(original=original, candidate=candidate))
    )
    assert reason
    assert len(seen.original) == 32


@pytest.mark.parametrize(("floor", "draw"), [(ACCURACY, classified), (SPEARMAN, ranked)])
def test_the_good_survive(floor: Floor, draw) -> None:  # type: ignore[no-untyped-def]
    """At the margin, where they are hardest to keep, over all looks: alpha 0.2 of 100 races allows 20 (3 sd: 32)."""
    at_margin = {ACCURACY: 0.02, SPEARMAN: 0.235}[floor]  # that noise takes 0.02 from Spearman's 0.88
    race = Race((floor,), 400, 1, alpha=0.2)
    rejected = sum(race.run(partial(first, draw(seed, at_margin, 400)))[1] is not None for seed in range(100))
    assert rejected <= 32


def test_a_lossless_candidate_is_never_rejected() -> None:
    for floor, evidence in ((ACCURACY, classified(1, 0.0)), (SPEARMAN, ranked(1, 0.0))):
        assert Race((floor,), N, 50).run(partial(first, evidence))[1] is None


def test_one_of_several_floors_is_enough() -> None:
    evidence = ranked(0, 1.0)
    both = Race((Floor(metric="rmse", max_drop=5.0), SPEARMAN), N, 50)
    assert "spearman" in (both.reject(evidence) or "")
    assert "below the minimum 0.9" in (Race((Floor(metric="spearman", minimum=0.9),), N, 50).reject(evidence) or "")


def test_alpha_is_shared_by_all_candidates_and_limits() -> None:
    evidence = ranked(0, 1.0)
    assert "alpha 0.001)" in (Race((SPEARMAN,), N, 50).reject(evidence) or "")
    assert "alpha 0.0005)" in (Race((SPEARMAN, Floor(metric="rmse", max_drop=5.0)), N, 50).reject(evidence) or "")


def test_an_absolute_minimum_of_a_mean() -> None:
    floor = Floor(metric="accuracy", minimum=0.85)
    assert Race((floor,), N, 50).reject(classified(0, 0.3))
    assert Race((floor,), N, 50).reject(classified(0, 0.0)) is None


def test_an_unbounded_mean_waits_for_its_three_looks() -> None:
    draw = np.random.default_rng(0)
    logits = draw.standard_normal((N, 5))
    evidence = Evidence(original=logits, candidate=logits + draw.standard_normal((N, 5)))
    race = Race((Floor(metric="kl", max_drop=0.05),), N, 50)
    assert race.reject(first(evidence, 128)) is None
    assert "kl falls" in (race.reject(first(evidence, 250)) or "")


def test_a_prefix_of_one_class_says_nothing_yet() -> None:
    draw = np.random.default_rng(0)
    labels = np.r_[np.zeros(300, dtype=int), draw.integers(0, 2, N - 300)]
    evidence = Evidence(original=labels + draw.standard_normal(N), candidate=draw.standard_normal(N), labels=labels)
    race = Race((Floor(metric="roc_auc", max_drop=0.02),), N, 50)
    assert race.reject(first(evidence, 250)) is None
    assert race.reject(evidence)
    only_one = Evidence(original=evidence.original, candidate=evidence.candidate, labels=np.zeros(N, dtype=int))
    with pytest.raises(DataError, match="undefined on one class"):
        race.reject(only_one)


@pytest.mark.parametrize(
    ("candidate", "message"),
    [(np.full(N, np.nan), "1000 of 1000 answers are NaN or infinite"), (np.ones((N, 2)), r"answers have shape \(1000, 2\)")],
)
def test_malformed_answers_are_a_reason(candidate: Array, message: str) -> None:
    import re

    evidence = ranked(0, 0.0)
    reason = Race((SPEARMAN,), N, 50).reject(Evidence(original=evidence.original, candidate=candidate, labels=evidence.labels))
    assert reason is not None
    assert re.search(message, reason)
