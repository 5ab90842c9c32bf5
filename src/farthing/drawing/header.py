"""The top of the page, for whoever pays: the bill before and after, the saving, the promise kept, how to run it."""

from collections.abc import Callable
from datetime import date

from farthing import facts
from farthing.drawing.markup import (
    Safe,
    badge,
    bullets,
    deployed,
    empty,
    join,
    measured,
    predicted,
    shown,
    table,
    tag,
    term,
    verdict,
)
from farthing.drawing.proof import promises
from farthing.facts import Estimate
from farthing.results import Candidate, Decision
from farthing.wording import count, grams, joules, milliseconds, percent, seconds, usd

MAX_PROMISES = 6  # in the tile; the rest is behind a click


def header(decision: Decision, today: date) -> Safe:
    job = tag("code", decision.job_digest[:12], title="digest of the job")
    brand = tag("p", tag("b", "farthing"), " ", decision.job_name, " ", job, tag("span", f"report of {today}"), class_="brand")
    tiles = tag("dl", *(tile for tile in (*_answer(decision), *_causes(decision)) if tile), class_="tiles")
    old = facts.old_prices(decision, today)
    warning = tag("p", old, class_="warning", role="note") if old else Safe()
    return tag("header", tag("div", brand, tag("h1", facts.headline(decision)), warning, tiles, _run(decision)))


def instead(decision: Decision) -> Safe:
    """For the verdicts that change nothing: what came nearest, and which demand to relax."""
    if decision.verdict == "saves":
        return Safe()
    head = ("candidate", "USD per million", "p99 measured", "p99 predicted", "certificate", "why not")
    rows = [_near(decision, candidate) for candidate in facts.nearest(decision)]
    near = table(head, rows, numeric=(1, 2, 3)) if rows else empty("No candidate was measured.")
    relax = [tag("h3", "What would change the answer"), bullets(decision.relax)] if decision.relax else []
    return tag("section", tag("h2", "What came nearest"), near, *relax, id="nearest")


def _near(decision: Decision, candidate: Candidate) -> tuple[str, ...]:
    p99 = facts.estimate(candidate, "latency_p99_s")
    return (
        deployed(candidate),
        shown(_cost(candidate, "usd_per_million"), usd),
        measured(p99, milliseconds),
        predicted(p99, milliseconds),
        verdict(facts.tightest(candidate)),
        facts.why_not(decision, candidate),
    )


def _answer(decision: Decision) -> tuple[Safe | None, ...]:
    """The four tiles that matter to whoever pays."""
    return (
        _change(decision, "Bill per month", "usd_per_month", usd, note=facts.traffic(decision)),
        _saving(decision),
        _quality(decision),
        _latency(decision),
    )


def _causes(decision: Decision) -> tuple[Safe | None, ...]:
    energy = decision.baseline.cost.energy_source if decision.baseline.cost else ""
    modelled = energy if facts.is_modelled(decision.baseline.cost) else ""
    carbon = f"the energy times a grid's mean emission; energy {energy}"
    return (
        _change(decision, "USD per million requests", "usd_per_million", usd),
        _break_even(decision),
        _change(decision, "Energy per million", "joules_per_million", joules, modelled=modelled),
        _change(decision, "CO2e per million", "grams_co2e_per_million", grams, modelled=carbon),
    )


def _tile(what: str, figure: str, *notes: str, class_: str = "tile") -> Safe:
    return tag("div", tag("dt", what), tag("dd", figure), *(tag("dd", note) for note in notes if note), class_=class_)


def _change(
    decision: Decision, what: str, field: str, write: Callable[[float], str], *, note: str = "", modelled: str = ""
) -> Safe | None:
    """Before -> after; only the figure of today where nothing is changed. `modelled`: by what, if not measured."""
    before, after = _cost(decision.baseline, field), _cost(_changed(decision), field)
    if before is None and after is None:
        return None
    mark = badge("modelled", modelled) if modelled else Safe()
    if after is None:
        return _tile(what, join([shown(before, write), mark]), join(["today", *([note] if note else [])], ", "))
    was = tag("span", "from ", shown(before, write), class_="was")
    return _tile(what, join([shown(after, write), mark]), was, note)


def _changed(decision: Decision) -> Candidate | None:
    return decision.chosen if decision.verdict == "saves" else None


def _cost(candidate: Candidate | None, field: str) -> Estimate | None:
    cost = candidate.cost if candidate else None
    value = getattr(cost, field, None)
    return None if value is None or cost is None else Estimate(value=value, predicted=cost.predicted)


def _saving(decision: Decision) -> Safe:
    share, before, after = (
        facts.saved(decision),
        _cost(decision.baseline, "usd_per_month"),
        _cost(decision.chosen, "usd_per_month"),
    )
    if decision.verdict == "nothing":
        return _tile("Verdict", "nothing fits", "no deployment keeps all demands; see what came nearest", class_="tile bad")
    if decision.verdict == "keep" or share is None or share.low is None or share.high is None:
        return _tile("Verdict", "keep", "nothing that is proven good enough costs less", class_="tile")
    between = join(
        [term("interval"), f" {percent(share.low)} to {percent(share.high)}, in rounds that the choice did not go by"]
    )
    money = f"{usd(before.value - after.value)} less each month" if before and after else ""
    return _tile("Saving", percent(share.value), between, money, class_="tile good")


def _quality(decision: Decision) -> Safe | None:
    """Every floor and slice, worst first."""
    if decision.chosen is None or not decision.chosen.certificates:
        return None
    kept = decision.chosen.certified
    lines = promises(decision, decision.chosen)
    word = "kept" if kept else "not kept"
    more = lines[MAX_PROMISES:]
    rest = tag("details", tag("summary", f"and {len(more)} more"), bullets(list(more))) if more else Safe()
    first = bullets(list(lines[:MAX_PROMISES]))
    size = "promise many" if len(lines) > 1 else "promise"
    return _tile("Promise on quality", word, join([first, rest]), class_=f"tile {size} {'good' if kept else 'bad'}")


def _latency(decision: Decision) -> Safe | None:
    """p99 before and after, and whether the ceilings are kept; today's own misses are said too."""
    before = facts.estimate(decision.baseline, "latency_p99_s")
    changed = _changed(decision)
    after = facts.estimate(changed, "latency_p99_s") if changed else None
    if before is None and after is None:
        return None
    limits, broken = facts.ceilings(decision), facts.missed(decision, decision.baseline)
    allowed = f"{limits} allowed" if limits else ""
    late = "; today's misses it" if broken else ""
    if after is None:
        return _tile("Latency, p99", shown(before, milliseconds), f"today{late}", allowed)
    was = tag("span", "from ", shown(before, milliseconds), class_="was")
    return _tile("Latency, p99", shown(after, milliseconds), was, f"{allowed}{late}")


def _break_even(decision: Decision) -> Safe | None:
    requests = decision.break_even_requests
    if requests is None:
        return None
    rate = decision.traffic.rate_per_s if decision.traffic else None
    after = f"after {seconds(requests / rate)} of this traffic" if rate else ""
    return _tile("Search paid for itself", f"{count(requests)} requests", after, f"it cost {usd(decision.search_usd)}")


def _run(decision: Decision) -> Safe:
    """What to run, and the commands that check and use what was packed."""
    if decision.chosen is None or decision.artifact is None:
        return Safe()
    folder = decision.artifact
    commands = (
        (f"farthing verify {folder}", "checks files, quality and speed, in a clean process"),
        (f"farthing predict {folder} INPUT.jsonl", "answers one request a line"),
    )
    rows = (tag("div", tag("dt", tag("code", command)), tag("dd", why)) for command, why in commands)
    plainly = ("In the folder of this page. Without farthing: the lines under ", tag("code", "snippet"), " in ")
    return tag(
        "div", tag("h2", "How to run it"), deployed(decision.chosen), tag("dl", *rows),
        tag("p", *plainly, tag("code", f"{folder}/manifest.json"), " run the model as it is.", class_="fine"), class_="run",
    )  # fmt: skip
