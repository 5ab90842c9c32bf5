"""`decision.json`: a Decision as plain JSON for other tools. docs/decision.md explains it, decision.schema.json checks it."""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from farthing.facts import everyone, role, saved
from farthing.results import Candidate, Decision, Profile
from farthing.types import Build, Deployment, MemberRef
from farthing.wording import name

SCHEMA_VERSION = 1  # rises with every change of a key or of what it means


def to_json(decision: Decision) -> str:
    """The text of decision.json: strict JSON (no NaN; what is not finite is null), lists of numbers on one line."""
    text = json.dumps(record(decision), indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r"\[\n([-+.\deE,\s]+)\n\s*\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of `record`."""
    return dict(json.loads(resources.files("farthing.reporting").joinpath("decision.schema.json").read_text(encoding="utf-8")))


def record(decision: Decision) -> dict[str, Any]:
    """JSON values only; units stand in the keys."""
    everybody = everyone(decision)
    order = [candidate.deployment for candidate in everybody]
    share = saved(decision)
    facts = {
        "schema_version": SCHEMA_VERSION,
        "job": {
            "name": decision.job_name,
            "digest": decision.job_digest,
            "seed": decision.seed,
            "floors": decision.floors,
            "traffic": decision.traffic,
            "slo": decision.slo,
            "num_items": decision.num_items,
        },
        "verdict": decision.verdict,
        "summary": decision.summary,
        "baseline_id": _id(order, decision.baseline),
        "chosen_id": None if decision.chosen is None else _id(order, decision.chosen),
        "saving": share and {"share": share.value, "share_low": share.low, "share_high": share.high, "ratio": decision.saving},
        "candidates": [{"id": _id(order, c)} | _candidate(decision, c) for c in everybody],
        "front_ids": [_id(order, c) for c in decision.front],
        "waterfall": {"bars": decision.waterfall, "interaction_usd_per_million": decision.interaction_usd_per_million},
        "break_even": {
            "requests": decision.break_even_requests,
            "search_usd": decision.search_usd,
            "search_s": decision.search_s,
        },
        "stays_cheapest": {
            "rates_per_s": decision.cheapest_rates_per_s,
            "usd_per_gib_hour_over_usd_per_vcpu_hour": decision.cheapest_price_ratios,
        },
        "relax": decision.relax,
        "profile": decision.profile and _profile(decision.profile),
        "environment": decision.environment,
        "artifact": decision.artifact,
        "notes": decision.notes,
    }
    return dict(_plain(facts))


def _id(order: list[Deployment], candidate: Candidate) -> str:
    return f"c{order.index(candidate.deployment)}"


def _candidate(decision: Decision, candidate: Candidate) -> dict[str, Any]:
    return {
        "name": name(candidate.deployment),
        "role": "rejected" if candidate.rejected else role(decision, candidate),
        "deployment": _deployment(candidate.deployment),
        "cost": candidate.cost,
        "figures": candidate.figures,
        "predictions": candidate.predictions,
        "certificates": candidate.certificates,
        "latencies_s": candidate.latencies_s,
        "rejected": candidate.rejected,
    }


def _deployment(deployment: Deployment) -> dict[str, Any]:
    facts = {field.name: getattr(deployment, field.name) for field in dataclasses.fields(deployment)}
    return facts | {"build": _build(deployment.build)}


def _build(build: Build) -> dict[str, Any]:
    return {
        "recipe": [_member(step) for step in build.recipe],
        "runtime": _member(build.runtime),
        "device_kind": build.device_kind,
    }


def _member(ref: MemberRef) -> dict[str, Any]:
    return {"name": ref.name, "knobs": dict(ref.knobs)}


def _profile(profile: Profile) -> dict[str, Any]:
    return {
        "ops": profile.ops,
        "findings": profile.findings,
        "device": profile.device,
        "host_s": profile.host_s,
        "model_s": profile.model_s,
        "request_lengths": profile.lengths,
        "sensitivities": [{"layer": layer, "relative_error": error} for layer, error in profile.sensitivities],
        "skipped": [{"family": family, "reason": reason} for family, reason in profile.skipped],
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
