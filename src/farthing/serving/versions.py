"""Versions of a model side by side: who is asked, what is seen of both, when one takes the other's place."""

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from farthing.artifact import Artifact
from farthing.errors import JobError
from farthing.rollout import Arm, Evidence, Judgement, judge
from farthing.serving.plan import Plan
from farthing.serving.scheduler import Refused
from farthing.serving.version import Request, Version, name_of
from farthing.types import Array

CHECK_S = 1.0
NUM_TYPICAL = 200  # answers of the stable version, before a plan without `slow_s` knows what slow is
SLOW_QUANTILE = 0.95
MOST_EVENTS = 200  # of the history
MOST_BESIDE = 32  # requests that are asked twice, at once: more are not compared
UNKNOWN_S = -1.0
BESIDE_PRIORITY = -1_000_000
FAILED = frozenset({500, 503})
HELPED = FAILED | {422}  # said by the candidate: the stable version is asked; to it the item may be a good one

Open = Callable[[Artifact], Any]  # -> an async context manager of a Version
Differs = Callable[[Any, Any], bool]


@dataclass(slots=True, kw_only=True)
class Rollout:
    """A candidate on its way. `evidence` is None until it is known what counts as slow."""

    plan: Plan
    version: Version
    differs: Differs
    evidence: Evidence | None
    typical_s: list[float] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        return {
            "version": self.version.name,
            "mode": self.plan.mode,
            "share": self.plan.share,
            "evidence": None if self.evidence is None else self.evidence.facts(),
            "guards": [] if self.evidence is None else [str(guard) for guard in self.judgement().guards],
        }

    def judgement(self) -> Judgement:
        if self.evidence is None:
            return Judgement(verdict="open", guards=())
        return judge(self.evidence, self.plan.margins)


class Versions:
    """The stable version, and at most one candidate. `changed` is told of each event that should be written down."""

    def __init__(self, open_version: Open, drain_s: float, changed: Callable[[str], None]) -> None:
        self._open, self._drain_s, self._changed = open_version, drain_s, changed
        self._stacks: dict[str, AsyncExitStack] = {}
        self._watching: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._beside: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        self.rollout: Rollout | None = None
        self.history: list[str] = []
        self.stable: Version

    # ------------------------------------------------------------ changing

    async def start(self, artifact: Artifact) -> None:
        """The first stable version. Raises BuildError."""
        self.stable = await self._opened(artifact)

    async def begin(self, artifact: Artifact, plan: Plan, differs: Differs, kept: Evidence | None = None) -> None:
        """Open a candidate; once it is ready, traffic goes to it as planned. `now`: all of it.

        Raises BuildError where it cannot be opened, and JobError for another rollout under way, for the version that is stable
        already, and for a model that takes or gives something else: nothing has changed then.
        """
        if self._changing.locked() or self.rollout is not None:
            raise JobError("a rollout is under way: promote it or roll it back first")
        async with self._changing:
            self._check(artifact)
            version = await self._opened(artifact)
            if plan.mode == "now":
                self._retire(self.stable)
                self.stable = version
                self._tell(f"{version.name} took the place of the version before, at once")
                return
            evidence = Evidence(slow_s=plan.slow_s) if kept is None and plan.slow_s is not None else kept
            self.rollout = Rollout(plan=plan, version=version, differs=differs, evidence=evidence)
            self._watching = asyncio.create_task(self._watch(self.rollout))
            self._tell(f"{version.name} {'began' if kept is None else 'went on'} as {plan}")

    def promote(self, reason: str) -> None:
        """The candidate takes the place of the stable version, which finishes what it has. Raises JobError without one."""
        rollout = self._candidate()
        self._retire(self.stable)
        self.stable, self.rollout = rollout.version, None
        self._tell(f"{rollout.version.name} was promoted: {reason}")

    def roll_back(self, reason: str) -> None:
        """The candidate gets nothing more. Raises JobError without one."""
        rollout = self._candidate()
        self._retire(rollout.version)
        self.rollout = None
        self._tell(f"{rollout.version.name} was rolled back: {reason}")

    async def drain(self) -> None:
        """Take nothing new, and finish what every version has, for at most as long as draining may take."""
        ended = [*self._beside] + ([self._watching] if self._watching else [])
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, *self._retiring, return_exceptions=True)
        await asyncio.gather(*(version.scheduler.drain(self._drain_s) for version in self.open))

    async def close(self) -> None:
        await asyncio.gather(*(stack.aclose() for stack in self._stacks.values()))

    def _candidate(self) -> Rollout:
        if self.rollout is None:
            raise JobError("no rollout is under way")
        return self.rollout

    def _check(self, artifact: Artifact) -> None:
        before = self.stable.artifact.pipeline
        after = artifact.pipeline
        if name_of(artifact) == self.stable.name:
            raise JobError(f"version {self.stable.name} is served already")
        if name_of(artifact) in self._stacks:
            raise JobError(f"version {name_of(artifact)} is still being drained: try again in a moment")
        if (before.inputs, bool(before.tokenizer)) != (after.inputs, bool(after.tokenizer)):
            raise JobError("the new version takes other inputs: serve it under a name of its own")
        if [(spec.dtype, spec.shape[1:]) for spec in before.outputs] != [
            (spec.dtype, spec.shape[1:]) for spec in after.outputs
        ]:
            raise JobError("the new version gives other outputs: serve it under a name of its own")

    async def _opened(self, artifact: Artifact) -> Version:
        stack = AsyncExitStack()
        version: Version = await stack.enter_async_context(self._open(artifact))
        self._stacks[version.name] = stack
        version.scheduler.served = self._served(version, version.scheduler.served)
        return version

    def _retire(self, version: Version) -> None:
        async def drained() -> None:
            await version.scheduler.drain(self._drain_s)
            await self._stacks.pop(version.name).aclose()

        task = asyncio.create_task(drained())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _tell(self, event: str) -> None:
        self.history.append(event)
        del self.history[:-MOST_EVENTS]
        self._changed(event)

    # ------------------------------------------------------------ answering

    async def answer(self, item: tuple[Any, ...], request: Request) -> list[Array]:
        """By the stable version, or by the candidate where the plan says so. Raises Refused."""
        rollout = self.rollout
        if rollout is None:
            return await self._by_stable(item, request)
        if rollout.plan.mode == "canary" and self._drawn(rollout, request.sticky):
            return await self._by_candidate(rollout, item, request)
        outputs = await self._timed(rollout, "stable", self._by_stable(item, request))
        if rollout.plan.mode == "shadow" and self._drawn(rollout, request.sticky):
            self._beside_traffic(functools.partial(self._shadowed, rollout, item, outputs))
        return outputs

    @property
    def open(self) -> list[Version]:
        """Those that take requests, the stable one first."""
        return [self.stable] + ([self.rollout.version] if self.rollout else [])

    def _drawn(self, rollout: Rollout, sticky: str) -> bool:
        """The same key always meets the same version, and whoever met the candidate still does when its share grows."""
        digest = hashlib.blake2b(f"{rollout.version.name} {sticky}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64 < rollout.plan.share

    async def _by_stable(self, item: tuple[Any, ...], request: Request) -> list[Array]:
        version = self.stable
        try:
            return await version.answer(item, request)
        except Refused:
            if version is self.stable or not version.scheduler.closed:
                raise
        return await self._by_stable(item, request)  # it was retired between the two

    async def _by_candidate(self, rollout: Rollout, item: tuple[Any, ...], request: Request) -> list[Array]:
        began_s = time.monotonic()
        try:
            outputs = await self._timed(rollout, "candidate", rollout.version.answer(item, request))
        except Refused as refusal:
            if refusal.status not in HELPED:
                raise
            seconds = time.monotonic() - began_s
            outputs = await self._by_stable(item, dataclasses.replace(request, deadline_s=request.deadline_s - seconds))
            if refusal.status == 422 and self.rollout is rollout:
                self._count(rollout, "candidate", seconds, failed=True)
            return outputs
        self._beside_traffic(functools.partial(self._mirrored, rollout, item, outputs))
        return outputs

    async def _timed(self, rollout: Rollout, arm: str, answer: Awaitable[list[Array]]) -> list[Array]:
        began_s, failed, seconds = time.monotonic(), False, math.inf
        try:
            outputs = await answer
            seconds = time.monotonic() - began_s
            return outputs
        except Refused as refusal:
            failed = refusal.status in FAILED and not self._closed(rollout)
            if refusal.status == 422:
                seconds = UNKNOWN_S  # whose fault it was is seen where the other version is asked
            raise
        except asyncio.CancelledError:
            seconds = UNKNOWN_S
            raise
        finally:
            if seconds >= 0.0 and self.rollout is rollout:
                self._count(rollout, arm, seconds, failed=failed)

    def _closed(self, rollout: Rollout) -> bool:
        return self.rollout is not rollout or self.stable.scheduler.closed

    def _count(self, rollout: Rollout, arm: str, seconds: float, *, failed: bool) -> None:
        if rollout.evidence is not None:
            counted: Arm = getattr(rollout.evidence, arm)
            counted.answered(seconds, rollout.evidence.slow_s, failed=failed)
        elif arm == "stable" and math.isfinite(seconds):
            rollout.typical_s.append(seconds)
            if len(rollout.typical_s) >= NUM_TYPICAL:
                rollout.evidence = Evidence(slow_s=float(np.quantile(rollout.typical_s, SLOW_QUANTILE)))

    # ------------------------------------------------------------ seeing both

    def _beside_traffic(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """What nobody waits for: an answer to compare with. Too many at once are left out, so that traffic goes first."""
        if len(self._beside) < MOST_BESIDE:
            task = asyncio.create_task(work())
            self._beside.add(task)
            task.add_done_callback(self._beside.discard)

    async def _shadowed(self, rollout: Rollout, item: tuple[Any, ...], stable: list[Array]) -> None:
        with contextlib.suppress(Refused):
            beside = Request(priority=BESIDE_PRIORITY, fresh=True)
            candidate = await self._timed(rollout, "candidate", rollout.version.answer(item, beside))
            self._compare(rollout, stable, candidate)

    async def _mirrored(self, rollout: Rollout, item: tuple[Any, ...], candidate: list[Array]) -> None:
        with contextlib.suppress(Refused):
            self._compare(rollout, await self.stable.answer(item, Request(priority=BESIDE_PRIORITY, fresh=True)), candidate)

    def _compare(self, rollout: Rollout, stable: list[Array], candidate: list[Array]) -> None:
        if rollout.evidence is not None and self.rollout is rollout:
            rollout.evidence.compare(differs=bool(rollout.differs(stable[0], candidate[0])))

    def _served(self, version: Version, before: Callable[[int, float, float], None]) -> Callable[[int, float, float], None]:
        """What a batch took, beside what the stable version's fitted model says of a batch of its size and length."""

        def served(num_items: int, length: float, seconds: float) -> None:
            before(num_items, length, seconds)
            rollout = self.rollout
            if rollout is None or rollout.evidence is None:
                return
            arm = rollout.evidence.stable if version is self.stable else rollout.evidence.candidate
            if version is self.stable or version is rollout.version:
                arm.batch(seconds, self.stable.scheduler.times.seconds(num_items, length))

        return served

    async def _watch(self, rollout: Rollout) -> None:
        while self.rollout is rollout:
            await asyncio.sleep(CHECK_S)
            if self.rollout is not rollout or not rollout.plan.automatic:
                continue
            judgement = rollout.judgement()
            if judgement.verdict == "worse":
                self.roll_back(judgement.reason)
            elif judgement.verdict == "no worse":
                self.promote(judgement.reason)
