"""gate(): may this artifact be deployed? An exit code and a short Markdown verdict, for CI."""

from collections.abc import Sequence
from pathlib import Path

from farthing.artifact.manifest import Manifest
from farthing.artifact.verification import Check, verify
from farthing.errors import ArtifactError
from farthing.results import Certificate
from farthing.types import Floor

ACCEPTED, REFUSED = 0, 1  # exit codes
_WORDS = {True: "PASS", False: "**FAIL**", None: "not judged"}


def gate(directory: Path, floors: Sequence[Floor], *, trust: bool = False) -> tuple[int, str]:
    """(exit code, Markdown). Accepted: `verify` passes, each of `floors` is certified, and it costs no more than the baseline.

    `floors` are the job's as they are now; a certificate that was given for a stricter floor covers a milder one.
    """
    try:
        verdict = verify(directory, trust=trust)
    except ArtifactError as error:
        return REFUSED, _markdown(str(directory), [Check(name="digests", passed=False, detail=str(error))])
    manifest = verdict.artifact.manifest
    checks = [*verdict.checks, *(_floor(manifest, floor) for floor in floors), _cost(manifest)]
    accepted = all(check.passed is not False for check in checks)
    return ACCEPTED if accepted else REFUSED, _markdown(str(manifest.deployment), checks)


def _floor(manifest: Manifest, floor: Floor) -> Check:
    limit = f"drop below {floor.max_drop:g}" if floor.minimum is None else f"at least {floor.minimum:g}"
    name = f"floor: {floor.metric}, {limit}, {floor.confidence:.0%} confidence"
    given = [c for c in manifest.certificates if c.metric == floor.metric and (c.minimum is None) == (floor.minimum is None)]
    overall = [c for c in given if c.slice is None]
    sliced = [c for c in given if c.slice is not None] if floor.slices else []
    if not overall or (floor.slices and not sliced):
        return Check(name=name, passed=False, detail="no certificate was given for it: optimize again with this floor")
    slice_max_drop = floor.max_drop if floor.slice_max_drop is None else floor.slice_max_drop
    proven = any(_proves(c, floor, floor.max_drop) for c in overall) and all(_proves(c, floor, slice_max_drop) for c in sliced)
    worst = max((*overall, *sliced), key=lambda c: c.upper_bound)
    found = f"drop {worst.drop:.2g}, at most {worst.upper_bound:.2g}"
    if floor.minimum is not None:
        found = f"{worst.candidate:.4g}, at least {_sure_of(worst):.4g}"
    where = "" if worst.slice is None else f" in slice {worst.slice}"
    if worst.alpha == 0:
        return Check(name=name, passed=proven, detail=worst.protocol)
    return Check(
        name=name, passed=proven, detail=f"{found} with {1 - worst.alpha:.1%} confidence, {worst.num_items} items{where}"
    )


def _proves(certificate: Certificate, floor: Floor, max_drop: float | None) -> bool:
    sure_enough = certificate.alpha <= 1 - floor.confidence + 1e-9
    if floor.minimum is not None:
        proven = _sure_of(certificate) > floor.minimum
    else:
        assert max_drop is not None, "a floor has max_drop or minimum"
        proven = certificate.upper_bound < max_drop
    return certificate.verdict == "PASS" and sure_enough and proven


def _sure_of(certificate: Certificate) -> float:
    """What the metric reaches with the certificate's confidence."""
    assert certificate.minimum is not None
    return certificate.minimum - certificate.upper_bound


def _cost(manifest: Manifest) -> Check:
    now, before = manifest.cost, manifest.baseline_cost
    if now is None or before is None:
        return Check(name="cost", passed=None, detail="it was not priced")
    detail = f"USD {now.usd_per_million:.4g} per million requests, {before.usd_per_million:.4g} for {manifest.baseline}"
    if manifest.saving is not None:
        saved = sorted((1 - manifest.saving.low, 1 - manifest.saving.high))
        detail += f": saves {1 - manifest.saving.value:.0%} ({saved[0]:.0%} to {saved[1]:.0%})"
    return Check(name="cost", passed=now.usd_per_million <= before.usd_per_million, detail=detail)


def _markdown(title: str, checks: Sequence[Check]) -> str:
    refused = any(check.passed is False for check in checks)
    rows = [f"| {_cell(check.name)} | {_WORDS[check.passed]} | {_cell(check.detail)} |" for check in checks]
    heading = f"### {'Refused' if refused else 'Accepted'}: {title}"
    return "\n".join([heading, "", "| check | verdict | |", "|---|---|---|", *rows, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
