"""The form `cascade`: two pipelines in a folder, the second asked where the first is unsure. How it is written, read, run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from farthing import codec
from farthing.errors import ModelError
from farthing.types import Array, Feeds, MemberRef

FILE = "cascade.json"
CHEAP, DEAR = "cheap", "dear"  # folders of the two pipelines
ITEM_DEPENDENT = "item_dependent"  # the trait of a model whose time depends on what it is asked, not only on how much


class Session(Protocol):
    def run(self, feeds: Feeds) -> list[Array]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The dear model is asked where the cheap one's margin is below `threshold`: a share `asked` of the calibrate split."""

    threshold: float
    cheap: MemberRef  # its runtime
    dear: MemberRef
    asked: float


def write(settings: Settings, directory: Path) -> None:
    facts = {"threshold": settings.threshold, "asked": settings.asked}
    runtimes = {CHEAP: codec.to_json(settings.cheap), DEAR: codec.to_json(settings.dear)}
    (directory / FILE).write_text(json.dumps(facts | runtimes, indent=1) + "\n")


def read(path: Path) -> Settings:
    """Raises ModelError for a file that is not one."""
    try:
        facts = json.loads(path.read_text())
        return Settings(
            threshold=float(facts["threshold"]), asked=float(facts["asked"]),
            cheap=codec.from_json(facts[CHEAP]), dear=codec.from_json(facts[DEAR]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} does not describe a cascade: {error}") from error


def margins(scores_NC: Array) -> Array:
    """(n,) the best score less the second best: how sure an answer is. A threshold on it needs no probabilities."""
    top_N2 = np.partition(scores_NC, -2, axis=1)[:, -2:]
    return np.asarray(top_N2[:, 1] - top_N2[:, 0], dtype=np.float64)


class CascadeSession:
    """Both models opened: rows of a batch whose margin is below the threshold are asked again, together."""

    def __init__(self, cheap: Session, dear: Session, threshold: float) -> None:
        self._cheap, self._dear, self._threshold = cheap, dear, threshold

    def run(self, feeds: Feeds) -> list[Array]:
        answers = [np.array(values) for values in self._cheap.run(feeds)]  # may be a view of the session's own memory
        unsure = margins(answers[0]) < self._threshold
        if unsure.any():
            again = self._dear.run({name: np.ascontiguousarray(values[unsure]) for name, values in feeds.items()})
            for answer, better in zip(answers, again, strict=True):
                answer[unsure] = better
        return answers

    def close(self) -> None:
        self._cheap.close()
        self._dear.close()
