"""`report.html` and `decision.json`: everything about a Decision in two files that need nothing else."""

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from string import Template

from farthing.errors import StoreError
from farthing.reporting import facts, sections
from farthing.reporting.facts import Estimate, count, milliseconds, percent, plain, seconds, usd
from farthing.reporting.markup import Safe, glossary, join, resource, table, tag, term
from farthing.reporting.record import to_json
from farthing.results import Candidate, Decision

SECTIONS = (
    ("bill", "The bill, before and after", sections.bill),
    ("choices", "Cost against quality", sections.choices),
    ("latency", "Latency", sections.latency),
    ("quality", "Proof of quality", sections.quality),
    ("time", "Where the time goes", sections.time),
    ("rejected", "What was turned down", sections.rejected),
    ("prices", "Prices", sections.prices),
    ("setting", "How this was found", sections.setting),
)


def report(decision: Decision, directory: Path) -> Path:
    """Write `decision.json` and `report.html`; the path of the page. Raises StoreError where they cannot be written."""
    page = directory / "report.html"
    for path, text in ((directory / "decision.json", to_json(decision)), (page, html(decision))):
        unfinished = path.with_suffix(".unfinished")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(text, encoding="utf-8", newline="\n")
            os.replace(unfinished, path)
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error}. Free the folder or choose another.") from error
    return page


def html(decision: Decision) -> str:
    """The whole page: style, figures and plotly.js inside; scripts other than its own two are refused by its policy."""
    from plotly.offline import get_plotlyjs

    script, plotly = resource("report.js"), get_plotlyjs()
    return Template(resource("page.html")).substitute(
        title=tag("title", f"{decision.job_name}: {decision.summary}")[len("<title>") : -len("</title>")],
        style=resource("report.css"),
        script_hashes=" ".join(_hash(text) for text in (plotly, script)),
        body=_body(decision),
        plotly=plotly,
        script=script,
    )


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _body(decision: Decision) -> Safe:
    links = tag("nav", *(tag("a", title, href=f"#{key}") for key, title, _ in SECTIONS), aria_label="Sections")
    parts = [tag("section", tag("h2", title), show(decision), id=key) for key, title, show in SECTIONS]
    return join([_header(decision), tag("main", links, _instead(decision), *parts, _words()), _footer(decision)], "\n")


def _header(decision: Decision) -> Safe:
    brand = tag("p", tag("b", "farthing"), " ", decision.job_name, " ", tag("code", decision.job_digest[:12]), class_="brand")
    limits = facts.ceilings(decision)
    allowed = f"{limits} allowed" if limits else ""
    power = decision.baseline.cost.energy_source if decision.baseline.cost else ""
    tiles = (
        _saving(decision),
        _change(decision, "USD per million requests", lambda c: _cost(c, "usd_per_million"), usd),
        _change(decision, "USD per month", lambda c: _cost(c, "usd_per_month"), usd, note=facts.traffic(decision)),
        _quality(decision),
        _change(decision, "Latency, p99", lambda c: facts.estimate(c, "latency_p99_s"), milliseconds, note=allowed),
        _break_even(decision),
        _change(
            decision, "Energy per million", lambda c: _cost(c, "joules_per_million"), facts.joules, note=power.partition(":")[0]
        ),
        _change(decision, "CO2e per million", lambda c: _cost(c, "grams_co2e_per_million"), facts.grams),
    )
    shown_tiles = tag("dl", *(tile for tile in tiles if tile), class_="tiles")
    return tag("header", tag("div", brand, tag("h1", decision.summary), shown_tiles))


def _tile(what: str, figure: str, note: str = "", *, class_: str = "tile") -> Safe:
    return tag("div", tag("dt", what), tag("dd", figure), tag("dd", note) if note else Safe(), class_=class_)


def _change(
    decision: Decision,
    what: str,
    read: Callable[[Candidate], Estimate | None],
    write: Callable[[float], str],
    *,
    note: str = "",
) -> Safe | None:
    """Before -> after; only the figure of today where nothing is changed."""
    before = read(decision.baseline)
    after = read(decision.chosen) if decision.chosen is not None and decision.verdict == "saves" else None
    if before is None and after is None:
        return None
    if after is None:
        return _tile(what, sections.shown(before, write), join(["today", note] if note else ["today"], "; "))
    was = join(["instead of ", sections.shown(before, write)])
    return _tile(what, sections.shown(after, write), join([was, note] if note else [was], "; "))


def _cost(candidate: Candidate, field: str) -> Estimate | None:
    value = getattr(candidate.cost, field, None)
    return None if value is None or candidate.cost is None else Estimate(value=value, predicted=candidate.cost.predicted)


def _saving(decision: Decision) -> Safe:
    share = facts.saved(decision)
    if decision.verdict == "nothing":
        return _tile("Verdict", "nothing fits", "no deployment keeps all demands; see what came nearest", class_="tile bad")
    if decision.verdict == "keep" or share is None or share.low is None or share.high is None:
        return _tile("Verdict", "keep", "nothing that is proven good enough costs less", class_="tile")
    between = join([term("interval"), f" {percent(share.low)} to {percent(share.high)}"])
    return _tile("Saving", percent(share.value), between, class_="tile good")


def _quality(decision: Decision) -> Safe | None:
    test = facts.tightest(decision.chosen) if decision.chosen is not None else None
    if test is None:
        return None
    bound = join([test.metric, ": ", term("drop"), f" at most {plain(test.upper_bound)}, {plain(test.max_drop)} allowed"])
    return _tile("Quality", sections.verdict(test), bound)


def _break_even(decision: Decision) -> Safe | None:
    requests = decision.break_even_requests
    if requests is None:
        return None
    rate = decision.traffic.rate_per_s if decision.traffic else None
    note = f"{seconds(requests / rate)} of this traffic; the search cost {usd(decision.search_usd)}" if rate else ""
    return _tile("Break-even", f"{count(requests)} requests", note)


def _instead(decision: Decision) -> Safe:
    """For the verdicts that change nothing: what came nearest, and which demand to relax."""
    if decision.verdict == "saves":
        return Safe()
    rows = [
        (
            tag("code", facts.name(c.deployment)),
            sections.shown(_cost(c, "usd_per_million"), usd),
            sections.shown(facts.estimate(c, "latency_p99_s"), milliseconds),
            sections.verdict(facts.tightest(c)),
            facts.why_not(decision, c),
        )
        for c in facts.nearest(decision)
    ]
    near = table(("candidate", "USD per million", "p99", "certificate", "why not"), rows, numeric=(1, 2))
    parts = [tag("h2", "What came nearest"), near if rows else sections.empty("No candidate was measured.")]
    if decision.relax:
        parts += [tag("h3", "What would change the answer"), tag("ul", *(tag("li", demand) for demand in decision.relax))]
    return tag("section", *parts, id="nearest")


def _words() -> Safe:
    pairs = [tag("div", tag("dt", word), tag("dd", meaning)) for word, meaning in glossary().items()]
    return tag("section", tag("details", tag("summary", "Words used on this page"), tag("dl", *pairs)), id="words")


def _footer(decision: Decision) -> Safe:
    beside = "decision.json, beside this page, holds the same facts for other tools."
    if decision.artifact is None:
        return tag("footer", tag("p", beside))
    command = tag("code", f"farthing verify {decision.artifact}")
    return tag("footer", tag("p", "To check what was packed, here or elsewhere: ", command, ". ", beside))
