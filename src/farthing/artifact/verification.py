"""verify(): open an artifact in a clean process and compare what it does with what its manifest says."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farthing.artifact import clean_room, sample
from farthing.artifact.clean_room import Examination
from farthing.artifact.manifest import Artifact, Manifest, load
from farthing.artifact.sample import Sample
from farthing.errors import ArtifactError, DataError, JobError
from farthing.metrics import metric_of
from farthing.types import Array, Floor
from farthing.units import ms

SAME_ANSWERS = 1e-3  # largest |difference| relative to the largest |answer|, on the machine model that saved it
SAME_VALUE = 1e-6  # of a metric
SLOWER_LIMIT = 2.0  # the fastest batch now against the slowest then


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    name: str
    passed: bool | None  # None: reported, not judged, and `detail` says why
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    artifact: Artifact
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed is not False for check in self.checks)


def verify(directory: Path, *, trust: bool = False) -> Verdict:
    """Check digests, that it runs without torch (unless its runtime is torch), its answers, quality and speed.

    Digests and quality are judged everywhere; answers and speed only on the machine model on which they were recorded.
    Raises ArtifactError, before anything is opened, for a changed file; a model that does not open is a failed check.
    """
    artifact = load(directory, trust=trust)
    manifest = artifact.manifest
    intact = Check(name="digests", passed=True, detail=f"{len(manifest.files)} files are as they were saved")
    carried = sample.read(directory) if manifest.num_items else None
    where = "runs" if manifest.needs_torch else "runs without torch"
    try:
        seen = clean_room.examine(
            artifact.pipeline, manifest.deployment, carried.items if carried else None, allow_torch=manifest.needs_torch
        )
    except ArtifactError as error:
        return Verdict(artifact=artifact, checks=(intact, Check(name=where, passed=False, detail=str(error))))
    runs = Check(name=where, passed=manifest.needs_torch or not seen.torch_was_loaded, detail=_versions(manifest, seen))
    return Verdict(artifact=artifact, checks=(intact, runs, *_quality(manifest, carried, seen), _speed(manifest, seen)))


def _quality(manifest: Manifest, carried: Sample | None, seen: Examination) -> tuple[Check, ...]:
    if carried is None or carried.answers is None or seen.predictions is None:
        return (Check(name="quality", passed=None, detail="the artifact carries no sample (carry_sample = false)"),)
    checks = [_answers(manifest, carried.answers, seen)]
    for floor in manifest.floors:
        try:
            checks.append(_metric(manifest, floor, carried, carried.answers, seen.predictions))
        except (JobError, DataError) as error:  # a function of the job's own, or a metric that so few items leave undefined
            checks.append(Check(name=floor.metric, passed=None, detail=str(error)))
    return tuple(checks)


def _answers(manifest: Manifest, then: Array, seen: Examination) -> Check:
    assert seen.predictions is not None
    difference = float(np.abs(seen.predictions - then).max() / max(float(np.abs(then).max()), SAME_VALUE))
    detail = f"largest difference {difference:.1g} of the largest answer, over {len(then)} items"
    if seen.machine != manifest.machine:
        return Check(name="answers", passed=None, detail=f"{detail}; not judged: saved on {manifest.machine}")
    return Check(name="answers", passed=difference <= SAME_ANSWERS, detail=detail)


def _metric(manifest: Manifest, floor: Floor, carried: Sample, then: Array, now: Array) -> Check:
    """The certificate stands while the metric has lost less since then than the certificate's margin."""
    metric = metric_of(floor.metric)
    labels = carried.items.labels if metric.needs_labels else carried.original
    assert labels is not None
    value_then, value_now = metric.value(then, labels), metric.value(now, labels)
    margins = [c.max_drop - c.upper_bound for c in manifest.certificates if c.metric == floor.metric]
    margin = max(SAME_VALUE, min(margins, default=0.0))
    original = metric.value(carried.original, labels)
    detail = f"{value_now:.6g} on {len(now)} items, {value_then:.6g} when saved, {original:.6g} originally"
    return Check(name=floor.metric, passed=value_now >= value_then - margin, detail=detail)


def _speed(manifest: Manifest, seen: Examination) -> Check:
    then, now = manifest.speed, seen.speed
    detail = f"{ms(now.value):.3g} ms a batch, {ms(then.value):.3g} ms when saved ({now.protocol})"
    if seen.machine != manifest.machine:
        return Check(
            name="speed", passed=None, detail=f"{detail}; not judged: saved on {manifest.machine}, this is {seen.machine}"
        )
    return Check(name="speed", passed=now.low <= SLOWER_LIMIT * then.high, detail=detail)


def _versions(manifest: Manifest, seen: Examination) -> str:
    changed = [
        f"{name} {seen.versions[name]} (saved with {v})"
        for name, v in manifest.versions.items()
        if seen.versions.get(name, v) != v
    ]
    return ", ".join(changed) or f"with the {len(manifest.versions)} packages it was saved with"
