"""What may be tried: every build that forms and traits allow, with its predicted speed, and the deployments of a build."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from farthing import plugins
from farthing.methods.base import Method
from farthing.results import Profile
from farthing.runtimes.base import Runtime
from farthing.types import Build, Deployment, Job

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
DELAYS_S = (0.0, 0.002, 0.005, 0.01, 0.02)

Feasible = Callable[[Build], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A build with its predicted speed; `features` are the names whose effects the search learns."""

    build: Build
    predicted_speedup: float  # time(baseline) / time(this), from the profile alone

    @property
    def features(self) -> tuple[str, ...]:
        return (self.build.runtime.name, *(step.name for step in self.build.recipe))


def builds(job: Job, profile: Profile, feasible: Feasible) -> tuple[list[Proposal], list[tuple[str, str]]]:
    """All feasible builds of up to two methods, the fastest predicted first; and (member, why not) for what cannot pay."""
    settings, skipped = _settings(job, profile)
    proposals = []
    for runtime in _runtimes(job):
        runtime_speedup = runtime.predicted_speedup(profile)
        for recipe in _recipes(settings):
            build = Build(
                recipe=tuple(plugins.ref(m) for m in recipe), runtime=plugins.ref(runtime), device_kind=profile.device.kind
            )
            if feasible(build):
                # Methods of precision speed up the same work, so that the best of them counts, not their product.
                speedup = runtime_speedup * max((m.predicted_speedup(profile) for m in recipe), default=1.0)
                proposals.append(Proposal(build=build, predicted_speedup=speedup))
    proposals.sort(key=lambda p: (-p.predicted_speedup, str(p.build)))
    return proposals, skipped


def deployments(build: Build, job: Job, *, threads: int, streams: int, varied_lengths: bool) -> list[Deployment]:
    """Every batching worth simulating for one way of using the cores."""
    sizes = BATCH_SIZES[:1] if job.traffic.scenario == "single_stream" else BATCH_SIZES
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
        if job.methods is not None and name not in job.methods:
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
    yield ()
    for first in settings:
        yield (first,)
        for second in settings:
            if type(second) is not type(first):
                yield (first, second)
