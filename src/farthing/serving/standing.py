"""The versions that are served, and how they stand again after a restart."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from farthing import artifact
from farthing.artifact import Artifact
from farthing.serving import state
from farthing.serving.admin import comparison
from farthing.serving.metrics import Metrics
from farthing.serving.options import Options
from farthing.serving.recall import Storage
from farthing.serving.state import Kept, State
from farthing.serving.version import name_of, opened
from farthing.serving.versions import Versions

KEEP_EVERY_S = 5.0  # while a rollout is under way


@dataclass(slots=True, kw_only=True)
class Standing:
    versions: Versions
    tell: Callable[[str], None]
    keeping: asyncio.Task[None] | None = None

    @classmethod
    async def restored(
        cls,
        given: Artifact,
        options: Options,
        metrics: Metrics,
        tell: Callable[[str], None],
        storage: Storage | None = None,
    ) -> "Standing":
        """The version that the command names, unless the state says that another took its place.

        Raises DataError and ArtifactError for a state, or a folder it names, that is not what it was; BuildError.
        """
        kept = None if options.state is None else state.read(options.state)
        if kept is not None and kept.given != name_of(given):
            kept = None  # another version was named: it is the word of whoever started this
        keeper = None if options.state is None else State(file=options.state, given=name_of(given), tell=tell)

        def changed(event: str) -> None:
            tell(event)
            if keeper is not None:
                keeper.keep(versions)

        versions = Versions(lambda loaded: opened(loaded, options, metrics, storage), options.drain_s, changed)
        await versions.start(given if kept is None else _loaded(*kept.stable, options))
        standing = cls(versions=versions, tell=tell)
        try:
            if kept is not None:
                await _go_on(versions, kept, options)
        except BaseException:
            await standing.close()
            raise
        if keeper is not None:
            keeper.keep(versions)
            standing.keeping = asyncio.create_task(_keep(keeper, versions))
        return standing

    async def close(self) -> None:
        if self.keeping is not None:
            self.keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.keeping
        await self.versions.close()


async def _go_on(versions: Versions, kept: Kept, options: Options) -> None:
    versions.history[:] = kept.history
    if kept.candidate is not None and kept.plan is not None:
        candidate = _loaded(*kept.candidate, options)
        await versions.begin(candidate, kept.plan, comparison(candidate), kept.evidence)


def _loaded(name: str, directory: Path, options: Options) -> Artifact:
    loaded = artifact.load(directory, trust=options.trust)
    assert options.state is not None
    state.checked(name_of(loaded), name, options.state)
    return loaded


async def _keep(keeper: State, versions: Versions) -> None:
    while True:
        await asyncio.sleep(KEEP_EVERY_S)
        if versions.rollout is not None:
            keeper.keep(versions)
