"""save(): pack a build with its deployment, its evidence and its history into one folder."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from farthing import codec, plugins
from farthing import pipeline as pipelines
from farthing.artifact import clean_room, manifest, sample
from farthing.artifact.clean_room import Examination
from farthing.artifact.manifest import Artifact, Manifest
from farthing.artifact.sample import Sample
from farthing.errors import ArtifactError
from farthing.results import Decision, ServiceModel
from farthing.runtimes.base import Runtime
from farthing.store import sync_tree, writing
from farthing.types import Pipeline


def save(
    build: Pipeline,
    directory: Path,
    *,
    decision: Decision,
    original_digest: str,
    carried: Sample | None = None,
    service: ServiceModel | None = None,
) -> Artifact:
    """Pack the pipeline of `decision.chosen` into the new folder `directory`, after it has run in a clean process.

    `carried` are items of the verify split with the original's predictions, of which some are packed for `verify`;
    None opts out. `service` are the fitted times that the deployment was planned with. A folder that already holds the
    artifact of this decision is left as it is.
    Raises ArtifactError if `directory` holds something else or the model does not run, StoreError if it cannot be written.
    """
    assert decision.chosen is not None
    if directory.exists():
        return _existing(build, directory, decision)
    temporary = directory.with_name(f".{directory.name}.unfinished")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed while it saved
    try:
        with writing(directory):
            _copy(build.directory, temporary)
            _fill(temporary, decision, original_digest, carried, service)
            sync_tree(temporary)
            temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest.load(directory, trust=True)  # these bytes are ours


def _existing(build: Pipeline, directory: Path, decision: Decision) -> Artifact:
    try:
        artifact = manifest.load(directory, trust=True)
    except ArtifactError as error:
        raise ArtifactError(f"{directory} is in the way: {error} Or choose another folder.") from error
    files = codec.digest_files(build.directory)
    same_model = files.items() <= artifact.manifest.files.items()
    if not same_model or (artifact.manifest.job_digest, artifact.manifest.deployment) != (
        decision.job_digest,
        decision.chosen.deployment if decision.chosen else None,
    ):
        raise ArtifactError(
            f"{directory} already holds another artifact, {artifact.manifest.summary!r}. Choose another folder."
        )
    return artifact


def _copy(source: Path, target: Path) -> None:
    for name in codec.digest_files(source):  # not copytree, whose error does not say that the disk is full
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)


def _fill(
    directory: Path, decision: Decision, original_digest: str, carried: Sample | None, service: ServiceModel | None
) -> None:
    assert decision.chosen is not None
    pipeline = pipelines.read(directory)
    runtime = plugins.make(Runtime, decision.chosen.deployment.build.runtime)  # type: ignore[type-abstract]
    packed = None if carried is None else sample.drawn(carried)
    seen = clean_room.examine(
        pipeline, decision.chosen.deployment, packed.items if packed else None, allow_torch=runtime.uses_torch(pipeline)
    )
    if packed is not None:
        sample.write(Sample(items=packed.items, original=packed.original, answers=seen.predictions), directory)
    described = _manifest(pipeline, decision, runtime, seen, original_digest)
    manifest.write(directory, replace(described, service=service))


def _manifest(pipeline: Pipeline, decision: Decision, runtime: Runtime, seen: Examination, original_digest: str) -> Manifest:
    chosen = decision.chosen
    assert chosen is not None
    return Manifest(
        format=manifest.FORMAT,
        farthing=version("farthing"),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        job_name=decision.job_name,
        job_digest=decision.job_digest,
        original_digest=original_digest,
        deployment=chosen.deployment,
        baseline=decision.baseline.deployment,
        pickled=pipeline.pickled,
        needs_torch=runtime.uses_torch(pipeline),
        summary=decision.summary,
        cost=chosen.cost,
        baseline_cost=decision.baseline.cost,
        saving=decision.saving,
        floors=decision.floors,
        certificates=chosen.certificates,
        figures=chosen.figures,
        machine=seen.machine,
        environment=decision.environment,
        versions=seen.versions,
        speed=seen.speed,
        num_items=0 if seen.predictions is None else len(seen.predictions),
        snippet=tuple(runtime.snippet(pipeline).splitlines()),
        files=codec.digest_files(pipeline.directory),
    )
