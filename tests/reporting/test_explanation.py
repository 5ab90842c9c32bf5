"""What a method is, in about ten lines, and what it was worth in a run."""

import json

import pytest

from farthing import plugins
from farthing.errors import JobError
from farthing.methods.base import Method
from farthing.reporting.explanation import explanation
from farthing.reporting.record import to_json
from farthing.testing.decisions import saves

RECORD = json.loads(to_json(saves()))


@pytest.mark.parametrize("name", plugins.names(Method))
def test_every_method_explains_itself_in_about_ten_lines(name: str) -> None:
    lines = explanation(name, None).splitlines()
    assert lines[0].startswith(f"{name}: ") and len(lines[0]) > len(name) + 10
    assert 4 <= len(lines) <= 14
    assert all(len(line) <= 120 for line in lines[1:])


def test_it_tells_what_the_run_found() -> None:
    chosen = next(c for c in RECORD["candidates"] if c["id"] == RECORD["chosen_id"])
    told = explanation(chosen["deployment"]["build"]["recipe"][0]["name"], RECORD)
    assert chosen["name"] in told.replace("\n  ", " ")
    assert "per million requests" in told and "saved" in told


def test_it_tells_what_trying_it_cost() -> None:
    chosen = next(c for c in RECORD["candidates"] if c["id"] == RECORD["chosen_id"])
    timed = {**chosen, "figures": [*chosen["figures"], {"name": "trial_s", "value": 150.0, "unit": "s"}]}
    whole = {**RECORD, "candidates": [timed if c is chosen else c for c in RECORD["candidates"]]}
    whole["break_even"] = {"requests": 1.0, "search_usd": 0.02, "search_s": 600.0}
    told = explanation(chosen["deployment"]["build"]["recipe"][0]["name"], whole).replace("\n  ", " ")
    assert "trying it took 2.5 min ($0.005" in told


def test_a_method_that_was_turned_down_or_never_proposed_says_why() -> None:
    out = dict(next(c for c in RECORD["candidates"] if c["rejected"]))
    out["deployment"] = {"build": {"recipe": [{"name": "layer_drop", "knobs": {}}]}}
    told = explanation("layer_drop", {**RECORD, "candidates": [*RECORD["candidates"], out]}).replace("\n  ", " ")
    assert f"turned down ({out['rejected']['stage']}: " in told
    notes = {**RECORD, "notes": ["layer_drop was not tried: there is no train split"]}
    assert "layer_drop was not tried: there is no train split" in explanation("layer_drop", notes)
    assert "no build with it was proposed" in explanation("layer_drop", RECORD)


def test_a_wrong_name_is_told_the_nearest() -> None:
    with pytest.raises(JobError, match="layer_drop"):
        explanation("layerdrop", None)
