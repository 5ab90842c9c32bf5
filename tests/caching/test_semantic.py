"""The semantic cache by itself: tenants, time, size, guards."""

import time

import numpy as np
import pytest

from farthing.caching.semantic import Semantic, Threshold, in_thread


def vector(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def make(**knobs) -> Semantic:
    threshold = Threshold(cosine=0.99, budget=0.05, max_entries=knobs.pop("max_entries", 10), alpha=0.05)
    return Semantic(
        embed=in_thread(lambda text: vector(0.0)), differs=lambda a, b: a != b, threshold=threshold, shadow_share=1e-9, **knobs
    )


def test_tenants_are_apart_and_can_be_forgotten():
    cache = make()
    cache.add("a", "one", vector(0.0), b"answer")
    assert cache.look("b", "like one", vector(0.01)) is None
    assert cache.look("a", "like one", vector(0.01)).answer == b"answer"
    cache.clear("a")
    assert cache.look("a", "also like one", vector(0.01)) is None


def test_too_far_too_old_or_guarded_is_no_hit():
    cache = make(ttl_s=0.05)
    cache.add("a", "pay 5", vector(0.0), b"answer")
    assert cache.look("a", "pay 5 now", vector(0.3)) is None
    assert cache.look("a", "pay 6", vector(0.01)) is None and cache.refused == {"a number": 1}
    assert cache.look("a", "pay 5 now", vector(0.01)) is not None
    time.sleep(0.06)
    assert cache.look("a", "pay 5 please", vector(0.01)) is None


def test_it_never_holds_more_than_it_was_calibrated_for_and_spares_who_was_of_use():
    cache = make(max_entries=3)
    angles = {"a": 0.0, "b": 0.5, "c": 1.0, "d": 1.5}
    for text in "abc":
        cache.add("t", text, vector(angles[text]), text.encode())
    assert cache.look("t", "like a", vector(0.01)) is not None
    cache.add("t", "d", vector(angles["d"]), b"d")
    shelf = cache._shelves["t"]
    assert sorted(shelf.slots) == ["a", "c", "d"] and len(shelf.texts) == 3
    assert cache.look("t", "like b", vector(0.5)) is None
    assert cache.look("t", "like d", vector(1.5)).answer == b"d"


def test_tenants_that_come_and_go_do_not_pile_up():
    cache = make(most_tenants=5)
    for number in range(50):
        cache.add(f"t{number}", "one", vector(0.0), b"answer")
    assert list(cache._shelves) == [f"t{n}" for n in range(45, 50)]


def test_a_new_answer_to_a_text_replaces_the_old():
    cache = make()
    cache.add("a", "one", vector(0.0), b"old")
    cache.add("a", "one", vector(0.0), b"new")
    assert cache.look("a", "like one", vector(0.0)).answer == b"new" and len(cache._shelves["a"].slots) == 1


def test_a_vector_of_zeros_is_near_to_nothing():
    cache = make()
    cache.add("a", "empty", np.zeros(2, np.float32), b"answer")
    assert cache.look("a", "other", vector(0.0)) is None and cache.look("a", "also empty", np.zeros(2)) is None


def test_nonsense_is_refused():
    threshold = Threshold(cosine=1.5, budget=0.05, max_entries=10, alpha=0.05)
    with pytest.raises(ValueError, match="is no threshold"):
        Semantic(embed=vector, differs=lambda a, b: a != b, threshold=threshold)
