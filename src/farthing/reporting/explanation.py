"""A method explained in about ten lines: what it does, its equation, when it pays, what it cost and saved in a run."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from farthing import plugins
from farthing.methods.base import Method
from farthing.wording import percent, usd
from farthing.wording import seconds as readable

WIDTH = 120
MOST_BUILDS = 4


def explanation(name: str, record: Mapping[str, Any] | None) -> str:
    """`record`: a run's decision.json, read; None: nothing is told of a run. Raises JobError if there is no such method."""
    cls = plugins.load(Method, name)  # type: ignore[type-abstract]
    module = sys.modules[cls.__module__]
    lines = [f"{name}: {(inspect.getdoc(module) or '').partition(': ')[2]}"]
    for paragraph in (inspect.getdoc(cls) or "").split("\n\n"):
        lines += _told(" ".join(paragraph.split()))
    lines += _told(f"It reads and writes the form {' or '.join(sorted(cls.consumes))}{_traits(cls)}.")
    found = ["No run was found: what it is worth there is not known."] if record is None else list(_of_run(name, record))
    return "\n".join(lines + [line for text in found for line in _told(text)])


def _told(text: str) -> list[str]:
    return [f"  {line}" for line in wrap(text, WIDTH - 2)]


def _traits(cls: type[Method]) -> str:
    told = {"needs": cls.needs, "adds": cls.adds, "takes away": cls.drops}
    return "".join(f"; {word} {', '.join(sorted(traits))}" for word, traits in told.items() if traits)


def _of_run(name: str, record: Mapping[str, Any]) -> Iterator[str]:
    job = record["job"]["name"]
    tried = [c for c in record["candidates"] if any(step["name"] == name for step in c["deployment"]["build"]["recipe"])]
    if not tried:
        said = next((note for note in record["notes"] if note.startswith(f"{name} was not tried: ")), None)
        yield f"{job}: {said or 'no build with it was proposed'}."
    for candidate in sorted(tried, key=lambda c: c["rejected"] is not None)[:MOST_BUILDS]:
        yield f"{job}: {candidate['name']}: {_worth(candidate, record)}"
    for bar in record["waterfall"]["bars"]:
        if bar["step"].startswith(name) and bar["measured"]:
            yield f"Left out of the choice, the rest costs {usd(bar['usd_per_million_saved'])} more per million requests."


def _worth(candidate: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    spent = _spent(candidate, record["break_even"])
    if candidate["rejected"] is not None:
        return f"turned down ({candidate['rejected']['stage']}: {candidate['rejected']['reason']}){spent}"
    baseline = next(c for c in record["candidates"] if c["id"] == record["baseline_id"])
    if candidate["cost"] is None or baseline["cost"] is None:
        return "not priced"
    after, before = (c["cost"]["usd_per_million"] for c in (candidate, baseline))
    drop = next((f for f in candidate["figures"] if f["name"] == "drop"), None)
    quality = "" if drop is None else f"; {drop['unit']} falls by {drop['value']:.2g} on search"
    return f"{usd(after)} per million requests, {percent(1 - after / before)} saved{quality}{spent}"


def _spent(candidate: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """What trying it cost: its share of the search's own bill."""
    spent_s = next((f["value"] for f in candidate["figures"] if f["name"] == "trial_s"), None)
    if spent_s is None or not whole["search_s"]:
        return ""
    return f"; trying it took {readable(spent_s)} ({usd(whole['search_usd'] * spent_s / whole['search_s'])})"
