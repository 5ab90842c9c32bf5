"""What a restart goes on with: which version is stable, which one is on its way, and what was seen of both."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farthing.errors import ArtifactError, DataError
from farthing.rollout import Evidence
from farthing.serving.plan import Plan
from farthing.serving.versions import Versions

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """`given`: the version that the command named. Another one named begins anew."""

    given: str
    stable: tuple[str, Path]  # name and folder
    candidate: tuple[str, Path] | None
    plan: Plan | None
    evidence: Evidence | None
    history: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class State:
    """A file that is replaced whole, so that a kill at any moment leaves the old or the new one."""

    file: Path
    given: str
    tell: Callable[[str], None]
    failing: bool = False

    def keep(self, versions: Versions) -> None:
        """A disk that takes nothing is told of once; the service goes on."""
        rollout = versions.rollout
        facts = {
            "format": FORMAT,
            "given": self.given,
            "stable": _where(versions.stable),
            "candidate": None if rollout is None else _where(rollout.version),
            "plan": None if rollout is None else rollout.plan.facts(),
            "evidence": None if rollout is None or rollout.evidence is None else rollout.evidence.facts(),
            "history": versions.history,
        }
        try:
            _replace(self.file, json.dumps(facts, indent=1).encode())
        except OSError as error:
            if not self.failing:
                self.tell(f"the state cannot be written to {self.file}: {error.strerror}; a restart would forget what follows")
            self.failing = True
        else:
            self.failing = False


def read(file: Path) -> Kept | None:
    """None: there is none yet. Raises DataError for a file that is not one of ours."""
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise DataError(f"{file} was written by another farthing (format {facts['format']}): use that one, or another file")
        candidate = facts["candidate"]
        return Kept(
            given=facts["given"],
            stable=(facts["stable"]["version"], Path(facts["stable"]["artifact"])),
            candidate=None if candidate is None else (candidate["version"], Path(candidate["artifact"])),
            plan=None if facts["plan"] is None else Plan.asked(facts["plan"]),
            evidence=None if facts["evidence"] is None else Evidence.of(facts["evidence"]),
            history=tuple(facts["history"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is no state of farthing serve ({error}): move it away to begin anew") from error


def checked(name: str, expected: str, file: Path) -> None:
    """Raises ArtifactError where a folder holds another version than the state says."""
    if name != expected:
        raise ArtifactError(
            f"{file} says that version {expected} is served, its folder now holds {name}: move {file} away to begin anew"
        )


def _where(version: Any) -> dict[str, str]:
    return {"version": version.name, "artifact": str(version.artifact.directory.resolve())}


def _replace(file: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
