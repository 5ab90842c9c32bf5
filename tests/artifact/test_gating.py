"""The gate lets through what is certified for the floor asked now, intact and no dearer; its verdict is a Markdown table."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farthing.artifact import gating
from farthing.artifact.gating import gate
from farthing.artifact.verification import Verdict
from farthing.certification.certify import unchanged
from farthing.results import Certificate, Evidence, Measurement
from farthing.types import Floor

FLOOR = Floor(metric="accuracy", max_drop=0.01)


def test_an_artifact_that_keeps_its_promises_is_accepted(classifier) -> None:
    code, markdown = gate(classifier.artifact.directory, [FLOOR])
    assert code == 0
    lines = markdown.splitlines()
    assert lines[0].startswith("### Accepted: onnxruntime")
    assert "FAIL" not in markdown and "| runs without torch | PASS |" in markdown
    assert (
        "floor: accuracy, drop below 0.01, 95% confidence | PASS | drop 0, at most 0.004 with 95.0% confidence, 1000 items"
        in markdown
    )
    assert (
        "| cost | PASS | USD 0.0314 per million requests, 0.158 for torch_eager" in markdown
        and "saves 80% (79% to 81%)" in markdown
    )
    assert {line.count("|") for line in lines[2:]} == {4}


def test_a_changed_byte_is_refused_with_a_table_too(classifier, tmp_path: Path, copied: Callable[..., Path]) -> None:
    directory = copied(classifier)
    (directory / "pipeline.json").write_text("{}")
    code, markdown = gate(directory, [FLOOR])
    assert (
        code == 1
        and "### Refused" in markdown
        and "| digests | **FAIL** |" in markdown
        and "pipeline.json was changed" in markdown
    )


@pytest.fixture
def verified(classifier, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """The gate behind a verification that passed, of a manifest with changes."""

    def gated(floor: Floor, **changes: object) -> tuple[int, str]:
        artifact = replace(classifier.artifact, manifest=replace(classifier.artifact.manifest, **changes))
        monkeypatch.setattr(gating, "verify", lambda directory, trust: Verdict(artifact=artifact, checks=()))
        return gate(artifact.directory, [floor])

    return gated


@pytest.mark.parametrize(
    ("floor", "code"),
    [
        (FLOOR, 0),
        (Floor(metric="accuracy", max_drop=0.0041), 0),
        (Floor(metric="accuracy", max_drop=0.004), 1),  # its upper bound is 0.004: not below
        (Floor(metric="accuracy", max_drop=0.5, confidence=0.99), 1),
        (Floor(metric="accuracy", max_drop=0.01, confidence=0.9), 0),
        (Floor(metric="macro_f1", max_drop=0.5), 1),
        (Floor(metric="accuracy", minimum=0.1), 1),  # it was certified against the original only
        (Floor(metric="accuracy", max_drop=0.01, slices="language"), 1),
    ],
)
def test_a_floor_is_met_only_by_a_certificate_as_strict(verified, floor: Floor, code: int) -> None:
    assert verified(floor)[0] == code


def test_the_original_itself_needs_no_certificate_but_for_a_minimum(verified, classifier) -> None:
    answers = np.arange(100) % 2
    given = unchanged(Evidence(original=answers, candidate=answers, labels=answers), FLOOR)
    kept = {"deployment": classifier.artifact.manifest.baseline, "certificates": given}
    code, markdown = verified(FLOOR, **kept)
    assert code == 0 and "the original, unchanged" in markdown
    assert verified(Floor(metric="accuracy", minimum=0.9), **kept)[0] == 1


def test_every_slice_needs_its_certificate(verified, classifier) -> None:
    overall: Certificate = classifier.artifact.manifest.certificates[0]
    good, bad = replace(overall, slice="de"), replace(overall, slice="en", upper_bound=0.02, drop=0.015, candidate=0.885)
    floor = Floor(metric="accuracy", max_drop=0.01, slices="language")
    assert verified(floor, certificates=(overall, good))[0] == 0
    code, markdown = verified(floor, certificates=(overall, good, bad))
    assert code == 1 and "1000 items in slice en" in markdown
    assert verified(replace(floor, slice_max_drop=0.03), certificates=(overall, good, bad))[0] == 0
    assert verified(FLOOR, certificates=(overall, good, bad))[0] == 0


def test_what_costs_more_than_the_original_is_refused(verified, classifier) -> None:
    manifest = classifier.artifact.manifest
    code, markdown = verified(FLOOR, cost=manifest.baseline_cost, baseline_cost=manifest.cost)
    assert code == 1 and "| cost | **FAIL** |" in markdown
    code, markdown = verified(FLOOR, cost=None)
    assert code == 0 and "| cost | not judged |" in markdown
    saving: Measurement = manifest.saving
    assert (
        "saves" not in verified(FLOOR, saving=None)[1] and "saves 50%" in verified(FLOOR, saving=replace(saving, value=0.5))[1]
    )


def test_a_minimum_needs_a_certificate_about_a_minimum(verified, classifier) -> None:
    against_original: Certificate = classifier.artifact.manifest.certificates[0]
    least = {"minimum": 0.85, "drop": 0.85 - 0.9, "upper_bound": -0.03, "max_drop": 0.0}  # so at least 0.88
    against_minimum = replace(against_original, **least)
    given = (against_original, against_minimum)
    assert verified(Floor(metric="accuracy", minimum=0.85), certificates=given)[0] == 0
    code, markdown = verified(Floor(metric="accuracy", minimum=0.87), certificates=given)
    assert code == 0 and "0.9, at least 0.88 with 95.0% confidence" in markdown
    assert verified(Floor(metric="accuracy", minimum=0.88), certificates=given)[0] == 1
    assert verified(FLOOR, certificates=given)[0] == 0 and verified(FLOOR, certificates=(against_minimum,))[0] == 1
