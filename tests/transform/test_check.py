"""Plans of recipes over forms and traits, and the reasons of those that have none."""

import pytest

from farthing import transform
from farthing.errors import RecipeError
from farthing.types import Build, MemberRef

from .conftest import FLOAT, RawToGraph


def build(*names: str, runtime: str) -> Build:
    return Build(recipe=tuple(MemberRef(name=name) for name in names), runtime=MemberRef(name=runtime))


def steps(form: str, wanted: Build, traits: frozenset[str] = FLOAT) -> list[str]:
    return [step.ref.name for step in transform.check(form, traits, wanted)]


@pytest.mark.parametrize(
    ("form", "wanted", "expected"),
    [
        ("raw", build(runtime="interpreter"), []),
        ("raw", build(runtime="engine"), ["raw_to_graph"]),
        ("tree", build(runtime="engine"), ["tree_to_raw", "raw_to_graph"]),
        ("raw", build("shrink", runtime="engine"), ["raw_to_graph", "shrink"]),
        ("raw", build("half", runtime="interpreter"), ["half"]),
        ("raw", build("half", runtime="processor"), ["half", "raw_to_code"]),
        ("raw", build("half", runtime="engine"), ["raw_to_graph", "half"]),  # raw_to_graph would not carry half
        ("raw", build("shrink", "half", runtime="engine"), ["raw_to_graph", "shrink", "half"]),
    ],
)
def test_plan(form: str, wanted: Build, expected: list[str]) -> None:
    assert steps(form, wanted) == expected


def test_forms_and_traits_are_folded() -> None:
    first, second, third = transform.check("raw", FLOAT, build("shrink", "half", runtime="engine"))
    assert (first.kind, first.form, first.traits) == ("conversion", "graph", FLOAT)
    assert (second.kind, second.form, second.traits) == ("method", "graph", {"int8"})
    assert (third.kind, third.form, third.traits) == ("method", "graph", {"int8", "half"})


def test_an_untouched_model_is_converted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the conversion would carry what the method adds: then all builds share its result."""
    monkeypatch.setattr(RawToGraph, "stops", frozenset())
    assert steps("raw", build("half", runtime="engine")) == ["raw_to_graph", "half"]


@pytest.mark.parametrize(
    ("form", "wanted", "reason"),
    [
        (
            "raw",
            build("half", "shrink", runtime="engine"),
            "step 2 (shrink) needs float_weights, which step 1 removed. Move it earlier or drop that step.",
        ),
        (
            "raw",
            build("half", "half", runtime="engine"),
            "step 2 (half) adds half, which is there already. Drop that step.",
        ),
        (
            "code",
            build("shrink", runtime="engine"),
            "step 1 (shrink) consumes graph; no conversion leads there from code with float_weights. "
            "Change the order of the steps, drop one, or choose another runtime.",
        ),
        (
            "raw",
            build("shrink", runtime="processor"),
            "the runtime processor accepts code; no conversion leads there from graph with int8. "
            "Change the order of the steps, drop one, or choose another runtime.",
        ),
    ],
)
def test_reason(form: str, wanted: Build, reason: str) -> None:
    with pytest.raises(RecipeError) as caught:
        steps(form, wanted)
    assert str(caught.value) == reason


def test_knobs_stand_in_the_reason() -> None:
    wanted = Build(recipe=(MemberRef(name="shrink", knobs=(("by", 4),)),), runtime=MemberRef(name="engine"))
    with pytest.raises(RecipeError, match=r"step 1 \(shrink\(by=4\)\) needs float_weights, which this model does not have"):
        steps("raw", wanted, traits=frozenset())
