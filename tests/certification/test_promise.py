"""The promise through the shipped search-and-verify code, small: it holds, and without the alpha split it does not."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

MIX = {"margin": 8}  # nothing that may be accepted
SEARCHES = 200


@pytest.fixture(scope="module")
def promise() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "promise.py"
    spec = importlib.util.spec_from_file_location("promise", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["promise"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_false_acceptance_is_bounded_and_the_alpha_split_is_why(promise: ModuleType) -> None:
    kept = promise.false_acceptances("accuracy", SEARCHES, mix=MIX, num_search=200)
    broken = promise.false_acceptances("accuracy", SEARCHES, mix=MIX, num_search=200, split_alpha=False)
    assert promise.upper_95(kept, SEARCHES) <= promise.FALSE_ACCEPTANCE_LIMIT
    assert promise.upper_95(broken, SEARCHES) > promise.FALSE_ACCEPTANCE_LIMIT


@pytest.mark.parametrize("name", ["accuracy", "cosine"])
def test_a_lossless_candidate_is_certified_and_the_point_rule_is_fooled(promise: ModuleType, name: str) -> None:
    world, mix = promise.WORLDS[name], {"margin": 8, "bad": 2, "lossless": 2}
    searches = [promise.simulate(world, seed, mix) for seed in range(25)]
    assert sum(any(accepted.startswith("lossless") for accepted in s.accepted) for s in searches) >= 20
    assert all({"bad0", "bad1"} <= s.rejected_at.keys() for s in searches)
    rules = [promise.point_rule(world, seed, mix, search.num_verify) for seed, search in enumerate(searches)]
    assert sum(name.startswith("margin") for name in rules if name) >= 20
