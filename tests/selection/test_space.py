"""Which recipes are proposed: what is cut is repaired, by learning where there is a train split, by least squares where not."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from farthing import plugins
from farthing.errors import RecipeError
from farthing.methods.base import Method
from farthing.selection import space
from farthing.testing.profiles import encoder_profile
from farthing.transform import check
from farthing.types import Build


def feasible(build: Build) -> bool:
    try:
        check("torch", frozenset({"float_weights"}), build)
    except RecipeError:
        return False
    return True


def structures(num_train: int) -> dict[str, set[Any]]:
    """Name of each method that cuts -> (its setting, its repair) of every proposed recipe."""
    job: Any = SimpleNamespace(methods=None, runtimes=("torch_eager",))
    proposals, _ = space.builds(job, replace(encoder_profile(), num_train=num_train), feasible)
    found: dict[str, set[Any]] = {}
    for proposal in proposals:
        names = [step.name for step in proposal.build.recipe]
        if names and "cut" in plugins.load(Method, names[0]).adds:  # type: ignore[type-abstract]
            found.setdefault(names[0], set()).add((proposal.build.recipe[0], names[1] if len(names) > 1 else None))
    return found


def test_without_a_train_split_only_the_mildest_cut_is_tried_and_repaired_by_least_squares() -> None:
    found = structures(0)
    assert {"prune_channels", "prune_heads", "low_rank"} <= set(found) and "layer_drop" not in found
    for settings in found.values():
        assert len(settings) == 1 and {repair for _, repair in settings} == {"reconstruct"}


def test_with_a_train_split_every_cut_is_learned_back() -> None:
    found = structures(1000)
    assert len(found["prune_channels"]) == 3
    for settings in found.values():
        assert {repair for _, repair in settings} == {"distil"}


def test_a_step_never_follows_one_that_dropped_what_it_needs() -> None:
    """Where bytes are limited many members pack float weights: all their pairs would be a hundred thousand builds."""
    limited = replace(encoder_profile(), num_train=1000, bytes_are_limited=True)
    proposed = [plugins.load(Method, name).propose(limited) for name in plugins.names(Method)]  # type: ignore[type-abstract]
    settings = [method for found in proposed if not isinstance(found, str) for method in found]
    recipes = [tuple(plugins.ref(m).name for m in recipe) for recipe in space._recipes(settings)]
    assert len(recipes) < 3000
    assert {("gptq",), ("gptq", "bf16"), ("linear_bits", "code_weights")} <= set(recipes)
    assert not any({"gptq", "hqq"} <= set(recipe) for recipe in recipes)
