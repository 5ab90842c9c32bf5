"""The page, put together: everything about a Decision in one HTML text that needs nothing else."""

import base64
import hashlib
from datetime import date
from string import Template

from farthing.drawing import proof, sections
from farthing.drawing.header import header, instead
from farthing.drawing.markup import Safe, glossary, join, resource, tag
from farthing.results import Decision

SECTIONS = (  # in the order of whoever pays: the money, the promise, then the evidence
    ("bill", "The bill, step by step", sections.bill),
    ("quality", "Proof of quality", proof.quality),
    ("prices", "Prices", sections.prices),
    ("choices", "Cost against quality", sections.choices),
    ("latency", "Speed under load", sections.latency),
    ("time", "Where the time goes today", sections.time),
    ("rejected", "What was turned down or not tried", sections.rejected),
    ("setting", "How this was found", sections.setting),
)


def draw(decision: Decision, *, today: date | None = None) -> str:
    """The whole page: style, figures and plotly.js inside; scripts other than its own two are refused by its policy.

    `today` is the day of the report, against which the age of prices is told.
    """
    from plotly.offline import get_plotlyjs

    script, plotly = resource("report.js"), get_plotlyjs()
    return Template(resource("page.html")).substitute(
        title=tag("title", f"{decision.job_name}: {decision.summary}")[len("<title>") : -len("</title>")],
        style=resource("report.css"),
        script_hashes=" ".join(_hash(text) for text in (plotly, script)),
        body=_body(decision, today or date.today()),
        plotly=plotly,
        script=script,
    )


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _body(decision: Decision, today: date) -> Safe:
    links = tag("nav", *(tag("a", title, href=f"#{key}") for key, title, _ in SECTIONS), aria_label="Sections")
    parts = [tag("section", tag("h2", title), show(decision), id=key) for key, title, show in SECTIONS]
    drawn = tag("noscript", tag("p", "The plots are drawn by a script of this page; every figure also stands in a table."))
    beside = tag("p", "decision.json, beside this page, holds the same facts for other tools.")
    return join(
        [header(decision, today), tag("main", links, drawn, instead(decision), *parts, _words()), tag("footer", beside)], "\n"
    )


def _words() -> Safe:
    pairs = [tag("div", tag("dt", word), tag("dd", meaning)) for word, meaning in glossary().items()]
    return tag(
        "section",
        tag("h2", "Words used on this page"),
        tag("details", tag("summary", "Show them"), tag("dl", *pairs)),
        id="words",
    )
