"""Method: a cheap model answers first, and a dear one is asked where the cheap one is unsure."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from farthing import pipeline as pipelines
from farthing.errors import BuildError
from farthing.forms import cascade_form
from farthing.methods.base import Family, Method
from farthing.results import Profile
from farthing.types import Array, Build, Context, Pipeline

FEWEST_ITEMS = 50  # of the calibrate split: fewer say next to nothing about a threshold
MOST_ASKED = 0.8  # above it, two models cost more than one


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade(Method):
    """answer(x) = cheap(x) where margin(x) >= t, else dear(x); margin: the best score less the second best.

    t is the least threshold with which the cascade answers as the dear model does (arg max) on a share `agreement` of the
    calibrate split (selective classification: Chow 1970; Geifman & El-Yaniv, arXiv 1705.08500). Whether the *cascade* keeps
    the floor is certified as of any other build, and its price is what the two together take on real items.
    cheap, dear: whole builds, each with its runtime.
    """

    cheap: Build
    dear: Build
    agreement: float = 0.99

    consumes: ClassVar[frozenset[str]] = frozenset({"torch", "onnx", "sklearn"})
    produces: ClassVar[str | None] = "cascade"
    adds: ClassVar[frozenset[str]] = frozenset({cascade_form.ITEM_DEPENDENT})
    family: ClassVar[Family] = "structure"

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        if not 0.0 < self.agreement < 1.0:
            raise BuildError(f"cascade: agreement is a share between 0 and 1, not {self.agreement:g}")
        if len(context.calibrate) < FEWEST_ITEMS or context.calibrate.pair:
            raise BuildError(
                f"cascade: a threshold is taken from at least {FEWEST_ITEMS} single items of the calibrate split, which has "
                f"{len(context.calibrate)}: give it a larger share"
            )
        assert context.house is not None, "the flow gives a method that builds others the house"
        directory.mkdir(parents=True, exist_ok=True)
        places = {"cheap": directory / cascade_form.CHEAP, "dear": directory / cascade_form.DEAR}
        parts = {name: context.house.make(getattr(self, name), place) for name, place in places.items()}
        scores = {
            name: context.house.answers(part, getattr(self, name).runtime, context.calibrate.requests)
            for name, part in parts.items()
        }
        threshold, asked = _threshold(scores["cheap"], scores["dear"], self.agreement)
        settings = cascade_form.Settings(threshold=threshold, asked=asked, cheap=self.cheap.runtime, dear=self.dear.runtime)
        cascade_form.write(settings, directory)
        return pipelines.derive(
            source, directory, form="cascade", file=cascade_form.FILE, traits=source.traits | self.adds,
            pickled=any(part.pickled for part in parts.values()),
        )  # fmt: skip

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return ()  # the search makes cascades of the builds that it has measured

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0

    @property
    def fallback(self) -> Build | None:
        return self.dear

    @property
    def names_layers(self) -> bool:
        return False


def _threshold(cheap_NC: Array, dear_NC: Array, agreement: float) -> tuple[float, float]:
    """(t, share of the items that the dear model is asked). Raises BuildError where that is nearly all of them."""
    if cheap_NC.ndim != 2 or cheap_NC.shape[1] < 2 or cheap_NC.shape != dear_NC.shape:
        raise BuildError(f"cascade: it needs scores of two or more classes from both; they answer {cheap_NC.shape[1:]}")
    margin = cascade_form.margins(cheap_NC)
    order = np.argsort(-margin, kind="stable")
    wrong = np.cumsum((cheap_NC.argmax(1) != dear_NC.argmax(1))[order])
    may_differ = (1 - agreement) * len(margin) * (1 + 1e-9)  # a product of floats may miss the whole number that it means
    num_answered = int(np.searchsorted(wrong, may_differ, side="right"))
    threshold = _between(margin[order], num_answered)
    asked = float(np.mean(margin < threshold))
    if asked > MOST_ASKED:
        raise BuildError(f"cascade: to agree on {agreement:.2%} of the items the dear model has to answer {asked:.0%} of them")
    return threshold, asked


def _between(falling_N: Array, count: int) -> float:
    """A value that the first `count` reach and the others, where they are less, do not: halfway, out of float noise's way."""
    if count == len(falling_N):
        return 0.0
    if count == 0:
        return float(np.nextafter(falling_N[0], np.inf))
    return float(falling_N[count - 1] + falling_N[count]) / 2
