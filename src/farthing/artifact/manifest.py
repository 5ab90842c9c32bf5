"""The artifact's manifest: what it is, where it comes from, what was measured, and the digest of every byte beside it."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from farthing import codec
from farthing import pipeline as pipelines
from farthing.errors import ArtifactError, ModelError
from farthing.results import Certificate, Cost, Measurement, ServiceModel
from farthing.types import Deployment, Floor, Pipeline

FILE = "manifest.json"
FORMAT = 1
# The manifest seals itself: its last member is the SHA-256 of all bytes before that member's line.
_SEALED = re.compile(rb'(?P<body>\{.*),\n "sha256": "(?P<sum>[0-9a-f]{64})"\n\}\n', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    format: int
    farthing: str  # the version that wrote it
    created_at: str  # ISO 8601, UTC
    job_name: str
    job_digest: str
    original_digest: str  # of the files of the model as it came
    deployment: Deployment
    baseline: Deployment
    pickled: bool  # the model's file is code
    needs_torch: bool
    summary: str
    cost: Cost | None
    baseline_cost: Cost | None
    saving: Measurement | None
    floors: tuple[Floor, ...]
    certificates: tuple[Certificate, ...]  # given on the whole verify split
    figures: tuple[Measurement, ...]
    machine: str  # model and number of cores of the machine on which all of this was measured
    environment: Mapping[str, str]
    versions: Mapping[str, str]  # of every package that was loaded to run it
    speed: Measurement  # one batch, in the clean process that `verify` starts too
    num_items: int  # that the artifact carries for `verify`; 0: the person opted out
    snippet: tuple[str, ...]  # lines of plain runtime code, run in this folder, that turn `feeds` into `outputs`
    service: ServiceModel | None = None  # fitted times of that deployment, as its plan was made with
    files: Mapping[str, str]  # POSIX path -> SHA-256, of every other file


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A build on disk with its chosen deployment. `load` gives one only after every byte has been checked."""

    directory: Path
    pipeline: Pipeline
    manifest: Manifest


def identity(artifact: Artifact) -> str:
    """Of the model's bytes and of what runs them: equal ones answer alike."""
    build = artifact.manifest.deployment.build
    return codec.digest([dict(artifact.manifest.files), str(build.runtime), build.device_kind])


def load(directory: Path, *, trust: bool = False) -> Artifact:
    """Check every digest, then read; the model is not opened.

    Raises ArtifactError naming the file that was changed, lost or added; and without `trust`, for a model that is code.
    """
    try:
        data = (directory / FILE).read_bytes()
    except OSError as error:
        raise ArtifactError(f"{directory} is no artifact: its {FILE} cannot be read ({error.strerror})") from error
    manifest = _unsealed(directory, data)
    _check_files(directory, manifest.files)
    if manifest.pickled and not trust:
        raise ArtifactError(
            f"the model in {directory} is a pickle, which is code that runs when it is opened. "
            "If you trust whoever made it, say so: --trust, or trust=True."
        )
    try:
        return Artifact(directory=directory, pipeline=pipelines.read(directory), manifest=manifest)
    except ModelError as error:
        raise ArtifactError(f"{directory} is no artifact of this version: {error}") from error


def write(directory: Path, manifest: Manifest) -> None:
    values = {field.name: codec.to_json(getattr(manifest, field.name)) for field in dataclasses.fields(manifest)}
    body = json.dumps(values, indent=1, allow_nan=False).removesuffix("\n}").encode()
    seal = hashlib.sha256(body).hexdigest().encode()
    (directory / FILE).write_bytes(body + b',\n "sha256": "' + seal + b'"\n}\n')


def _unsealed(directory: Path, data: bytes) -> Manifest:
    match = _SEALED.fullmatch(data)
    if match is None or hashlib.sha256(match["body"]).hexdigest().encode() != match["sum"]:
        raise ArtifactError(f"{directory / FILE} was changed after it was written. {_REMEDY}")
    values = {name: codec.from_json(value) for name, value in json.loads(match["body"] + b"}").items()}
    if values["format"] != FORMAT:
        raise ArtifactError(
            f"{directory} was written by farthing {values['farthing']} in format {values['format']}; this version reads "
            f"format {FORMAT}. Use that version."
        )
    return Manifest(**values)


def _check_files(directory: Path, expected: Mapping[str, str]) -> None:
    found = codec.digest_files(directory)
    del found[FILE]
    for name, wanted in expected.items():
        if name not in found:
            raise ArtifactError(f"{directory / name} is missing. {_REMEDY}")
        if found[name] != wanted:
            raise ArtifactError(f"{directory / name} was changed: its SHA-256 is not the manifest's. {_REMEDY}")
    if extra := sorted(found.keys() - expected.keys()):
        raise ArtifactError(f"{directory / extra[0]} does not belong to the artifact. Take it out.")


_REMEDY = "Copy the artifact again from where it was made, or save it again."
