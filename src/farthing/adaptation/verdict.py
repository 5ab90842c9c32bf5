"""What became of an update: each question that was put to it with its certificates, as Markdown and as JSON."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farthing.results import Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """One condition of an update: it holds if all of its certificates pass."""

    about: str  # which items, of which model
    asks: str  # in words
    certificates: tuple[Certificate, ...]

    @property
    def holds(self) -> bool:
        return all(certificate.verdict == "PASS" for certificate in self.certificates)

    @property
    def reason(self) -> str:
        """Why it does not hold: its first certificate that did not pass."""
        failed = next(c for c in self.certificates if c.verdict != "PASS")
        where = f" in slice {failed.slice}" if failed.slice else ""
        more = f"; about {failed.items_missing} more items would settle it" if failed.verdict == "INCONCLUSIVE" else ""
        return (
            f"{self.about}: {self.asks}, and {failed.metric}{where} went from {failed.original:.4g} to {failed.candidate:.4g}"
            f" on {failed.num_items} items (a drop of {failed.upper_bound:.4g} is not excluded; it must be below"
            f" {failed.max_drop:g}: {failed.verdict}{more})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Accepted iff every guard holds; after the first that does not, no other was put."""

    number: int
    accepted: bool
    reason: str  # one sentence
    how: str
    build: str  # the recipe that was applied again, and its runtime
    num_learned: int  # new items
    num_replayed: int  # old ones
    num_judged: int  # new ones that nothing learned from
    guards: tuple[Guard, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"Update {self.number:03d} {'accepted' if self.accepted else 'refused'}"


def markdown(verdict: Verdict) -> str:
    heading = [f"### {verdict.title}", "", f"{verdict.reason[0].upper()}{verdict.reason[1:]}.", ""]
    learned = (
        f"Learned ({verdict.how}) from {verdict.num_learned} new and {verdict.num_replayed} replayed items, judged on"
        f" {verdict.num_judged} other new ones; build: {verdict.build}; {verdict.seconds:.0f} s."
    )
    table = [
        "| about | metric | before | after | items | drop below, certain | must be below | |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(guard, certificate) for guard in verdict.guards for certificate in guard.certificates),
    ]
    notes = [f"- {note}" for note in verdict.notes]
    return "\n".join([*heading, learned, "", *(table if verdict.guards else []), *([""] if notes else []), *notes, ""])


def to_json(verdict: Verdict) -> str:
    """Strict JSON: what is not finite is null."""
    return json.dumps(_plain(dataclasses.asdict(verdict)), indent=1, allow_nan=False)


def read(path: Path) -> Verdict:
    """What `to_json` wrote, with what is not finite as NaN."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    guards = [g | {"certificates": tuple(_certificate(c) for c in g["certificates"])} for g in facts["guards"]]
    return Verdict(**facts | {"guards": tuple(Guard(**guard) for guard in guards), "notes": tuple(facts["notes"])})


def _certificate(facts: Mapping[str, Any]) -> Certificate:
    missing = {key: math.nan for key, value in facts.items() if value is None and key not in ("slice", "minimum")}
    return Certificate(**{**facts, **missing})


def _row(guard: Guard, certificate: Certificate) -> str:
    metric = certificate.metric if certificate.slice is None else f"{certificate.metric}, {certificate.slice}"
    figures = (
        certificate.original,
        certificate.candidate,
        certificate.num_items,
        certificate.upper_bound,
        certificate.max_drop,
    )
    cells = (guard.about, metric, *(f"{figure:.4g}" for figure in figures), certificate.verdict)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
