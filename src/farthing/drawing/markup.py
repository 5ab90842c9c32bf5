"""HTML from Python values, and the pieces that parts of the page share: what is not `Safe` is escaped, wherever it is from."""

import html
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import resources

from farthing.drawing.plots import Figure
from farthing.facts import Estimate
from farthing.results import Candidate, Certificate
from farthing.wording import knobs, settings, short


class Safe(str):
    """Markup made by this file: inserted as it is."""

    __slots__ = ()


def tag(element: str, *children: str, **attributes: str | bool) -> Safe:
    """`tag("p", text, class_="lead")`: a trailing _ is dropped, other _ become -; True is a bare attribute, False none."""
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not False)
    start = "".join(f" {key}" if value is True else f' {key}="{html.escape(str(value))}"' for key, value in pairs)
    inner = join(children)
    return Safe(f"<{element}{start}>" if element in ("input", "meta") else f"<{element}{start}>{inner}</{element}>")


def join(children: Iterable[str], between: str = "") -> Safe:
    return Safe(between.join(child if isinstance(child, Safe) else html.escape(child) for child in children))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Sequence[int] = (), row_ids: str = "") -> Safe:
    """A table; columns in `numeric` are aligned right. On a narrow screen each row is a card whose cells name their column."""

    def cell(i: int, value: str) -> Safe:
        return tag("td", value, class_="number" if i in numeric else False, data_label=head[i])

    heads = (tag("th", name, scope="col", class_="number" if i in numeric else False) for i, name in enumerate(head))
    body = (tag("tr", *(cell(i, value) for i, value in enumerate(row))) for row in rows)
    return tag("div", tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body, id=row_ids or False)), class_="scroll")


def term(word: str, key: str = "") -> Safe:
    """A word with its one-line explanation from glossary.json, shown on hover, focus or touch."""
    meaning = glossary()[key or word]
    return tag("span", word, class_="term", tabindex="0", role="note", data_tip=meaning, aria_label=f"{word}: {meaning}")


@cache
def glossary() -> dict[str, str]:
    return dict(json.loads(resource("glossary.json")))


def resource(file: str) -> str:
    return resources.files("farthing.drawing").joinpath(file).read_text(encoding="utf-8")


def script_json(value: object) -> Safe:
    """JSON that can stand inside a <script> element: no `<` is left that could end it."""
    return Safe(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))


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
