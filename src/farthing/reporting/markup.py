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
    return resources.files("farthing.reporting").joinpath(file).read_text(encoding="utf-8")


def script_json(value: object) -> Safe:
    """JSON that can stand inside a <script> element: no `<` is left that could end it."""
    return Safe(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))
