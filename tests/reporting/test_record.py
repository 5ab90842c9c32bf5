"""decision.json: strict, complete, and what its schema says."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import jsonschema
import pytest

from farthing.reporting.record import SCHEMA_VERSION, record, schema, to_json
from farthing.results import Decision
from farthing.testing import decisions

VERDICTS = (decisions.saves, decisions.keep, decisions.nothing)


@pytest.mark.parametrize("make", VERDICTS)
def test_every_verdict_is_valid(make: Callable[[], Decision]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(json.loads(to_json(make())), schema())


def test_a_decision_without_any_detail_is_valid() -> None:
    bare = Decision(
        job_name="bare", job_digest="0", verdict="nothing", summary="Nothing.", baseline=decisions.saves().baseline,
        chosen=None, saving=None, candidates=(), front=(), rejected=(),
    )  # fmt: skip
    jsonschema.validate(json.loads(to_json(bare)), schema())


def test_unknown_keys_and_missing_keys_are_refused() -> None:
    facts = record(decisions.saves())
    for broken in (facts | {"surprise": 1}, {key: value for key, value in facts.items() if key != "saving"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema())
    assert schema()["properties"]["schema_version"] == {"const": SCHEMA_VERSION}


def test_ids_name_the_baseline_the_choice_and_the_front() -> None:
    decision = decisions.saves()
    facts = record(decision)
    by_id = {candidate["id"]: candidate for candidate in facts["candidates"]}
    assert len(by_id) == len(facts["candidates"])
    assert by_id[facts["baseline_id"]]["role"] == "baseline"
    assert by_id[facts["chosen_id"]]["role"] == "choice"
    costs = [by_id[front_id]["cost"]["usd_per_million"] for front_id in facts["front_ids"]]
    assert costs == [c.cost.usd_per_million for c in decision.front if c.cost]
    assert sum(c["role"] == "rejected" for c in by_id.values()) == len(decision.rejected)


def test_the_saving_is_one_minus_the_ratio() -> None:
    saving = record(decisions.saves())["saving"]
    ratio = saving["ratio"]
    assert (saving["share"], saving["share_low"], saving["share_high"]) == (
        1 - ratio["value"], 1 - ratio["high"], 1 - ratio["low"],
    )  # fmt: skip


def test_what_is_not_finite_is_null() -> None:
    decision = replace(decisions.saves(), cheapest_rates_per_s=(2.0, math.inf))
    read = json.loads(to_json(decision), parse_constant=lambda constant: pytest.fail(constant))
    assert read["stays_cheapest"]["rates_per_s"] == [2.0, None]
    assert [bar["usd_per_million_without"] for bar in read["waterfall"]["bars"]][-1] is None


def test_lists_of_numbers_stand_on_one_line_and_texts_are_left_alone() -> None:
    note = "ranges [\n1,\n2\n] and [ 1, 2 ]"
    text = to_json(replace(decisions.saves(), notes=(note,)))
    assert json.loads(text)["notes"] == [note]
    (line,) = [line for line in text.splitlines() if '"rates_per_s"' in line]
    assert line.strip().startswith('"rates_per_s": [')
    assert len(text.splitlines()) < 3000


def test_one_that_was_measured_and_then_turned_down_is_one_candidate() -> None:
    decision = decisions.saves()
    later = replace(decision.candidates[1], figures=(), rejected=decision.rejected[0].rejected)
    found = record(replace(decision, rejected=(later,)))["candidates"]
    (both,) = [c for c in found if c["rejected"] is not None]
    assert both["figures"] and both["role"] == "rejected"
    assert len(found) == len(decision.candidates)
