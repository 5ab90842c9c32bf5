"""What may be tried: every build that forms and traits allow, with its predicted speed, and the deployments of a build."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import get_args

from farthing import plugins
from farthing.methods.base import Family, Method
from farthing.results import Profile
from farthing.runtimes.base import Runtime
from farthing.types import Build, Deployment, Job, MemberRef

BATCH_SIZES = {"cpu": (1, 2, 4, 8, 16, 32, 64), "cuda": (1, 4, 16, 32, 64, 128, 256, 512)}
CASCADE = "cascade"  # the method that joins two measured builds, and the runtime that runs them
MOST_PAIRS, AGREEMENTS = 2, (1.0, 2.0)  # agreement 1 - max_drop, and half as strict: what differs is not always worse
EXPECTED_ASKED = 0.3  # of the items, before anything is known
DELAYS_S = (0.0, 0.002, 0.005, 0.01, 0.02)

Feasible = Callable[[Build], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A build with its predicted speed; `features` are the names whose effects the search learns."""

    build: Build
    predicted_speedup: float  # time(baseline) / time(this), from the profile alone
    cut: str = ""  # the method of structure in its recipe
    daring: float = 1.0  # predicted speedup of that method alone: the more, the more it takes out
    repaired: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        return (self.build.runtime.name, *(step.name for step in self.build.recipe))


def builds(job: Job, profile: Profile, feasible: Feasible) -> tuple[list[Proposal], list[tuple[str, str]]]:
    """All feasible builds, the fastest predicted first; and (member, why not) for what cannot pay.

    A recipe takes work out (one method of structure, repaired or not), then does what is left in fewer bits (up to two), then
    stores it in fewer bytes (up to two steps before one that codes).
    """
    settings, skipped = _settings(job, profile)
    proposals = []
    for runtime in _runtimes(job):
        if profile.device.kind not in runtime.devices:
            skipped.append((plugins.ref(runtime).name, f"it does not run on {profile.device.kind}"))
            continue
        runtime_speedup = runtime.predicted_speedup(profile)
        for recipe in _recipes(settings):
            build = Build(
                recipe=tuple(plugins.ref(m) for m in recipe), runtime=plugins.ref(runtime), device_kind=profile.device.kind
            )
            if feasible(build):
                proposals.append(_proposal(build, recipe, runtime_speedup, profile))
    proposals.sort(key=lambda p: (-p.predicted_speedup, str(p.build)))
    return proposals, skipped


def pairs(
    cut: Sequence[Proposal],
    best: Proposal,
    usd_of: Callable[[Proposal], float],
    baseline_usd: float,
    *,
    feasible: Feasible,
    max_drop: float,
) -> list[Proposal]:
    """Cascades of the cheapest `cut` builds with `best`: the first tells how sure it must be (`AGREEMENTS`, in drops)."""
    found = []
    for cheap in sorted(cut, key=usd_of)[:MOST_PAIRS]:
        for drops in AGREEMENTS:
            knobs = (("agreement", 1 - drops * max_drop), ("cheap", cheap.build), ("dear", best.build))
            recipe, runtime = (MemberRef(name=CASCADE, knobs=knobs),), MemberRef(name=CASCADE)
            build = Build(recipe=recipe, runtime=runtime, device_kind=best.build.device_kind)
            speedup = baseline_usd / (usd_of(cheap) + EXPECTED_ASKED * usd_of(best))
            if feasible(build):
                found.append(Proposal(build=build, predicted_speedup=speedup))
    return found


def allows(job: Job, method: str) -> bool:
    return job.methods is None or method in job.methods


def deployments(build: Build, job: Job, *, threads: int, streams: int, varied_lengths: bool) -> list[Deployment]:
    """Every batching worth simulating for one way of using the cores."""
    sizes = (1,) if job.traffic.scenario == "single_stream" else BATCH_SIZES[build.device_kind]
    delays_s = DELAYS_S if job.traffic.scenario == "server" else DELAYS_S[:1]
    return [
        Deployment(
            build=build, threads=threads, streams=streams, batch_size=size, batch_delay_s=delay_s, bucketing=bucketing
        )
        for size in sizes
        for delay_s in (delays_s if size > 1 else delays_s[:1])
        for bucketing in ((False, True) if varied_lengths and size > 1 else (False,))
    ]  # fmt: skip


def _settings(job: Job, profile: Profile) -> tuple[list[Method], list[tuple[str, str]]]:
    settings: list[Method] = []
    skipped: list[tuple[str, str]] = []
    for name in plugins.names(Method):
        if not allows(job, name):
            skipped.append((name, "the job does not list it under search.methods"))
            continue
        proposed = plugins.load(Method, name).propose(profile)  # type: ignore[type-abstract]
        if isinstance(proposed, str):
            skipped.append((name, proposed))
        else:
            settings += proposed
    return settings, skipped


def _runtimes(job: Job) -> Iterator[Runtime]:
    for name in plugins.names(Runtime):
        if job.runtimes is None or name in job.runtimes:
            yield plugins.load(Runtime, name)()  # type: ignore[type-abstract]


def _recipes(settings: list[Method]) -> Iterator[tuple[Method, ...]]:
    families = {family: [m for m in settings if m.family == family] for family in get_args(Family)}
    fewer_bits: list[tuple[Method, ...]] = [(), *_orders(families["precision"])]
    fewer_bytes = [()] + [
        (*steps, coder)
        for coder in families["storage"]
        if coder.stands_alone
        for steps in ((), *_orders([m for m in families["storage"] if not m.stands_alone]))
    ]
    less_work: list[tuple[Method, ...]] = [()]
    for cut in families["structure"]:
        less_work += [(cut,)] * cut.stands_alone + [(cut, repair) for repair in families["repair"]]
    for less, fewer, stored in product(less_work, fewer_bits, fewer_bytes):
        recipe = (*less, *fewer, *stored)
        if not (less and any(m.names_layers for m in fewer)) and _keeps_what_it_needs(recipe):
            yield recipe


def _keeps_what_it_needs(recipe: tuple[Method, ...]) -> bool:
    """False where a step needs a trait that an earlier one dropped: no conversion gives it back, so no plan is looked for."""
    dropped: frozenset[str] = frozenset()
    for method in recipe:
        if method.needs & dropped:
            return False
        dropped = (dropped | method.drops) - method.adds
    return True


def _orders(methods: list[Method]) -> list[tuple[Method, ...]]:
    """Each alone, and every two of different classes in either order; traits say which of them can be carried out."""
    return [(m,) for m in methods] + [pair for pair in permutations(methods, 2) if type(pair[0]) is not type(pair[1])]


def _proposal(build: Build, recipe: tuple[Method, ...], runtime_speedup: float, profile: Profile) -> Proposal:
    """Structure leaves less work; methods of precision speed up the same work, so that the best of them counts."""
    daring = math.prod(m.predicted_speedup(profile) for m in recipe if m.family == "structure")
    fewer_bits = max((m.predicted_speedup(profile) for m in recipe if m.family == "precision"), default=1.0)
    return Proposal(
        build=build,
        predicted_speedup=runtime_speedup * daring * fewer_bits,
        cut=next((ref.name for m, ref in zip(recipe, build.recipe, strict=True) if m.family == "structure"), ""),
        daring=daring,
        repaired=any(m.family == "repair" for m in recipe),
    )
