"""A recipe folded over forms and traits: which methods and conversions run, in which order, or why they cannot."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.errors import RecipeError
from farthing.methods.base import Method
from farthing.runtimes.base import Runtime
from farthing.types import Build, MemberRef

Traits = frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change on the way, with the form and traits that the model has after it."""

    kind: Literal["conversion", "method"]
    ref: MemberRef
    form: str
    traits: Traits


Plan = tuple[Step, ...]


def check(form: str, traits: Traits, build: Build) -> Plan:
    """The steps that bring a model of this form and traits to `build`'s runtime: as few conversions as can be, the earliest.

    Early, because an untouched model converts best, and because builds with equal first steps share their results.
    Raises RecipeError naming the step and what to do about it, and JobError for a member that does not exist.
    """
    methods = [plugins.make(Method, ref) for ref in build.recipe]  # type: ignore[type-abstract]
    _check_traits(traits, build.recipe, methods)
    plans: list[Plan] = [()]
    for number, (ref, method) in enumerate(zip(build.recipe, methods, strict=True), 1):
        longer = []
        for plan in plans:
            for route in _routes(plan, form, traits, method.consumes):
                here, had = _end(route, form, traits)
                step = Step(kind="method", ref=ref, form=method.produces or here, traits=had - method.drops | method.adds)
                longer.append((*route, step))
        if not longer:
            raise RecipeError(_no_route(f"step {number} ({ref}) consumes", method.consumes, plans, form, traits))
        plans = longer
    runtime = plugins.load(Runtime, build.runtime.name)  # type: ignore[type-abstract]
    ends = [route for plan in plans for route in _routes(plan, form, traits, runtime.accepts)]
    if not ends:
        raise RecipeError(_no_route(f"the runtime {build.runtime} accepts", runtime.accepts, plans, form, traits))
    return min(ends, key=_num_conversions_then_places)


def _check_traits(traits: Traits, recipe: Sequence[MemberRef], methods: Sequence[Method]) -> None:
    removed_by: dict[str, int] = {}
    for number, (ref, method) in enumerate(zip(recipe, methods, strict=True), 1):
        for missing in sorted(method.needs - traits):
            if missing in removed_by:
                why = f"which step {removed_by[missing]} removed. Move it earlier or drop that step."
            else:
                why = "which this model does not have. Drop that step."
            raise RecipeError(f"step {number} ({ref}) needs {missing}, {why}")
        if method.adds and method.adds <= traits:
            raise RecipeError(f"step {number} ({ref}) adds {_list(method.adds)}, which is there already. Drop that step.")
        removed_by |= dict.fromkeys(method.drops & traits, number)
        traits = traits - method.drops | method.adds


def _routes(plan: Plan, form: str, traits: Traits, targets: frozenset[str]) -> list[Plan]:
    """`plan` prolonged by the fewest conversions to each of the forms `targets` that can be reached."""
    start, traits = _end(plan, form, traits)
    routes = {start: plan}
    queue = deque([start])
    while queue:
        here = queue.popleft()
        for name in plugins.names(Conversion):
            source, _, target = name.partition("_to_")
            if source == here and target not in routes and _carries(name, traits):
                step = Step(kind="conversion", ref=MemberRef(name=name), form=target, traits=traits)
                routes[target] = (*routes[here], step)
                queue.append(target)
    return [route for target, route in routes.items() if target in targets]


def _carries(conversion: str, traits: Traits) -> bool:
    return not traits & plugins.load(Conversion, conversion).stops  # type: ignore[type-abstract]


def _end(plan: Plan, form: str, traits: Traits) -> tuple[str, Traits]:
    return (plan[-1].form, plan[-1].traits) if plan else (form, traits)


def _num_conversions_then_places(plan: Plan) -> tuple[int, list[int]]:
    return len(plan), [place for place, step in enumerate(plan) if step.kind == "conversion"]


def _no_route(who: str, wanted: Iterable[str], plans: Sequence[Plan], form: str, traits: Traits) -> str:
    ends = sorted({_end(plan, form, traits)[0] for plan in plans})
    _, had = _end(plans[0], form, traits)
    return (
        f"{who} {_list(wanted)}; no conversion leads there from {' or '.join(ends)} with {_list(had) or 'no traits'}. "
        "Change the order of the steps, drop one, or choose another runtime."
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
