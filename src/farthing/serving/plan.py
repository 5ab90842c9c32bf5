"""How a new version comes in: what it gets, and what it must prove; a setting without effect is refused."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from farthing.errors import JobError
from farthing.rollout import Margins

MODES = ("canary", "shadow", "now")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """canary: a share of requests is answered by the candidate. shadow: it is asked too, and nobody gets its answers.
    now: it takes all requests as soon as it is ready.
    """

    mode: Literal["canary", "shadow", "now"]
    share: float = 0.0
    slow_s: float | None = None  # None: what 95% of the stable version's answers stay below
    automatic: bool = True  # it is promoted or rolled back as soon as the evidence says so
    margins: Margins = field(default_factory=Margins)

    def __str__(self) -> str:
        return self.mode if self.mode == "now" else f"{self.mode} of {100 * self.share:g}% of the requests"

    @classmethod
    def asked(cls, body: Mapping[str, Any]) -> "Plan":
        """From JSON: mode, share, slow_ms, automatic, margins. Raises JobError naming what is wrong."""
        known = {"mode", "share", "slow_ms", "automatic", "margins"}
        if unknown := set(body) - known:
            raise JobError(f"{', '.join(sorted(unknown))}: not known here; known are {', '.join(sorted(known))}")
        mode = body.get("mode", "canary")
        if mode not in MODES:
            raise JobError(f"mode = {mode!r} is not one of {', '.join(MODES)}")
        if mode == "now" and len(body) > ("mode" in body):
            idle = ", ".join(sorted(set(body) - {"mode"}))
            raise JobError(f"{idle}: without effect where the new version takes all requests at once; leave it out")
        share = _number(body, "share", 0.0 if mode == "now" else math.nan)
        if mode != "now" and not (0.0 < share < 1.0 or (mode == "shadow" and share == 1.0)):
            raise JobError(f"share = {body.get('share')}: give the part of the requests, above 0 and below 1")
        slow_s = _number(body, "slow_ms", math.inf) / 1e3
        if not slow_s > 0.0:
            raise JobError(f"slow_ms = {body['slow_ms']} must be positive")
        automatic = body.get("automatic", True)
        if not isinstance(automatic, bool):
            raise JobError(f"automatic = {automatic!r} is neither true nor false")
        if not automatic and "margins" in body:
            raise JobError("margins: without effect where automatic is false; leave it out")
        return cls(
            mode=mode,
            share=share,
            slow_s=slow_s if math.isfinite(slow_s) else None,
            automatic=automatic,
            margins=_margins(body.get("margins", {})),
        )

    def facts(self) -> dict[str, Any]:
        """The inverse of `asked`."""
        if self.mode == "now":
            return {"mode": "now"}
        told: dict[str, Any] = {"mode": self.mode, "share": self.share, "automatic": self.automatic}
        if self.slow_s is not None:
            told["slow_ms"] = self.slow_s * 1e3
        if self.automatic:
            told["margins"] = {f.name: getattr(self.margins, f.name) for f in fields(Margins)}
        return told


def _margins(asked: Any) -> Margins:
    known = {f.name for f in fields(Margins)}
    if not isinstance(asked, dict) or set(asked) - known:
        raise JobError(f"margins = {asked!r}: an object with some of {', '.join(sorted(known))} is expected")
    return Margins(**{name: _number(asked, name, math.nan) for name in asked})


def _number(body: Mapping[str, Any], name: str, default: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise JobError(f"{name} = {value!r} is not a number")
    return float(value)
