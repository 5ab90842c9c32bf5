"""How figures, deployments and promises are written."""

import math
from dataclasses import replace

import pytest

from farthing import wording
from farthing.testing import decisions
from farthing.types import Build, Deployment, MemberRef


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "$0.00"), (0.0314, "$0.0314"), (0.00251, "$0.00251"), (1.5, "$1.50"), (-20.756, "-$20.76"), (12345.6, "$12,346")],
)
def test_usd(value: float, text: str) -> None:
    assert wording.usd(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (5e-5, "0.00005"),
        (0.82031, "0.8203"),
        (100, "100"),
        (123456, "123,456"),
        (2e-9, "2e-09"),
        (math.inf, "unbounded"),
    ],
)
def test_plain(value: float, text: str) -> None:
    assert wording.plain(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2e-5, "20 µs"),
        (0.9999, "1 s"),
        (0.0093, "9.3 ms"),
        (3.2, "3.2 s"),
        (1062, "17.7 min"),
        (9000, "2.5 h"),
        (1e6, "12 days"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    assert wording.seconds(value) == text


def test_percent() -> None:
    assert [wording.percent(share) for share in (0.801, 0.9994, 1.0, -0.05)] == ["80.1%", "99.94%", "100.0%", "-5.0%"]


INT8 = Build(recipe=(MemberRef(name="int8", knobs=(("fast", True), ("share", 0.8))),), runtime=MemberRef(name="ort"))


def test_a_deployment_is_told_in_words_without_anything_of_python() -> None:
    deployment = Deployment(
        build=INT8, threads=2, streams=3, batch_size=8, batch_delay_s=0.02, bucketing=True, replicas=2, machine="m5"
    )
    assert wording.name(deployment) == (
        "int8(fast=true, share=0.8) + ort "
        "[3 batches at a time, 2 threads each, batches of up to 8 filled within 20 ms, "
        "like lengths together, 2 replicas, on m5]"
    )
    assert wording.settings(Deployment(build=INT8)) == "1 thread, one request at a time"
    assert wording.short(INT8) == "int8 + ort" and wording.knobs(INT8) == "int8: fast=true, share=0.8"


def test_labels_are_as_short_as_tells_them_apart() -> None:
    other = replace(INT8, recipe=(MemberRef(name="int8", knobs=(("fast", False),)),))
    bare = replace(INT8, recipe=())
    found = wording.labels([Deployment(build=build) for build in (bare, INT8, other)])
    assert found == ["ort", "int8(fast=true, share=0.8) + ort", "int8(fast=false) + ort"]
    twice = wording.labels([Deployment(build=bare), Deployment(build=bare, batch_size=4)])
    assert twice == ["ort [1 thread, one request at a time]", "ort [1 thread, batches of up to 4]"]


def test_a_promise_is_told_by_what_is_certain() -> None:
    decision = decisions.slices()
    assert decision.chosen is not None
    told = {
        wording.subject(t, decision.floors): f"{wording.reached(t)}, {wording.asked(t)}" for t in decision.chosen.certificates
    }
    assert told["spearman"] == "falls by at most 0.00005, 0.005 may be lost"
    assert told["spearman, language fr"] == "falls by at most 0.0097, 0.01 may be lost"
    assert told["accuracy"] == "reaches at least 0.902, at least 0.9 is asked for"
    better = replace(decision.chosen.certificates[0], upper_bound=-0.001)
    assert wording.reached(better) == "is better by at least 0.001"
    assert wording.reached(replace(better, upper_bound=math.inf)) == "may fall by any amount"
