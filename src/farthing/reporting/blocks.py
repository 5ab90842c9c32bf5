"""Pieces that several parts of the page are made of: leads, lists, plots, figures, verdicts, deployments."""

from collections.abc import Callable, Mapping

from farthing.reporting.canvas import Figure
from farthing.reporting.facts import Estimate
from farthing.reporting.markup import Safe, join, script_json, tag
from farthing.reporting.wording import knobs, settings, short
from farthing.results import Candidate, Certificate


def plot(drawing: Figure | None, name: str, label: str) -> Safe | None:
    """The place of a figure, which report.js draws; `label` tells what it shows to those who do not see it."""
    if drawing is None:
        return None
    source = tag("script", script_json(drawing), type="application/json")
    return tag("div", source, class_="plot", id=f"plot-{name}", role="img", aria_label=label)


def lead(*words: str) -> Safe:
    return tag("p", *words, class_="lead")


def fine(*words: str) -> Safe:
    return tag("p", *words, class_="fine")


def empty(text: str) -> Safe:
    return tag("p", text, class_="empty")


def bullets(lines: tuple[str, ...] | list[str]) -> Safe:
    return tag("ul", *(tag("li", line) for line in lines)) if lines else Safe()


def named_list(title: str, pairs: Mapping[str, str]) -> Safe:
    if not pairs:
        return Safe()
    rows = (tag("div", tag("dt", key), tag("dd", value)) for key, value in pairs.items())
    return join([tag("h3", title), tag("dl", *rows)])


def deployed(candidate: Candidate) -> Safe:
    """The build in short, below it its knobs and how it is run."""
    build = candidate.deployment.build
    lines = [line for line in (knobs(build), settings(candidate.deployment)) if line]
    return tag("div", tag("code", short(build)), *(tag("small", line) for line in lines), class_="build")


def measured(found: Estimate | None, write: Callable[[float], str]) -> str:
    """A cell of a column of measured figures: a dash for what was not measured."""
    return "–" if found is None or found.predicted else write(found.value)


def predicted(found: Estimate | None, write: Callable[[float], str]) -> str:
    """A cell of a column of predicted figures."""
    return "–" if found is None or not found.predicted else write(found.value)


def shown(found: Estimate | None, write: Callable[[float], str]) -> Safe:
    """A figure that stands alone: a dash where there is none, a badge where it is predicted."""
    if found is None:
        return Safe("–")
    return join([write(found.value), badge("predicted", found.origin)]) if found.predicted else join([write(found.value)])


def badge(word: str, why: str = "") -> Safe:
    """Marks what is `predicted` or `modelled` rather than measured, wherever it stands alone."""
    return tag("span", word, class_=f"badge {word}", title=why)


def verdict(test: Certificate | None) -> Safe:
    return tag("span", test.verdict, class_=f"verdict {test.verdict.lower()}") if test else Safe("–")
