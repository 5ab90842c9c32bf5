"""HTML from Python values: what is not `Safe` is escaped, so that text from a job can never become markup."""

import html
import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources


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
    """A table that scrolls sideways where the screen is narrow; columns in `numeric` are aligned right."""

    def cells(element: str, row: Sequence[str]) -> list[Safe]:
        return [tag(element, cell, class_="number" if i in numeric else False) for i, cell in enumerate(row)]

    body = tag("tbody", *(tag("tr", *cells("td", row)) for row in rows), id=row_ids or False)
    return tag("div", tag("table", tag("thead", tag("tr", *cells("th", head))), body), class_="scroll")


def term(word: str, key: str = "") -> Safe:
    """A word with its one-line explanation from glossary.json, shown on hover, focus or touch."""
    return tag("span", word, class_="term", tabindex="0", data_tip=glossary()[key or word])


@cache
def glossary() -> dict[str, str]:
    return dict(json.loads(resource("glossary.json")))


def resource(file: str) -> str:
    return resources.files("farthing.reporting").joinpath(file).read_text(encoding="utf-8")


def script_json(value: object) -> Safe:
    """JSON that can stand inside a <script> element: no `<` is left that could end it."""
    return Safe(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))
