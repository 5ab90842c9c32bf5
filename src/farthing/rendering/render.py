"""render(): an artifact's manifest becomes a plan, every wanted renderer of a target writes one file."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from farthing import artifact, codec, plugins
from farthing.artifact import Artifact
from farthing.artifact.manifest import FILE
from farthing.errors import ArtifactError, JobError
from farthing.renderers.base import SCALERS, Plan, Renderer
from farthing.rendering.yaml import yaml
from farthing.sizing import Load, size
from farthing.store import writing
from farthing.types import MemberRef

VERSION_DIGITS = 12
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*")  # what is written into a container file is no command


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the deployment goes, and how it is to grow there. What would have no effect is refused."""

    namespace: str = "default"
    image: str | None = None  # default: NAME:VERSION
    name: str | None = None  # default: the job's
    scaler: str = "hpa"
    prometheus: str | None = None  # URL of the server that KEDA asks
    monitored: bool = True
    drain_s: float = 30.0
    load: Load = field(default_factory=Load)

    def __post_init__(self) -> None:
        if self.scaler not in SCALERS:
            raise JobError(f"scaler = {self.scaler!r} is none of {', '.join(SCALERS)}")
        if not 0.0 < self.drain_s < 3600.0:
            raise JobError(f"drain_s = {self.drain_s:g} must be positive and below an hour")
        if not DNS_LABEL.fullmatch(self.namespace):
            raise JobError(f"namespace = {self.namespace!r} is no DNS label: small letters, digits and '-', a letter first")
        if self.image is not None and not IMAGE.fullmatch(self.image):
            raise JobError(f"image = {self.image!r} is no image's name: REGISTRY/NAME:TAG")
        self._check_scaler()

    def _check_scaler(self) -> None:
        if self.scaler == "keda":
            if self.prometheus is None:
                raise JobError("scaler = keda asks Prometheus: say where it is, --prometheus http://prometheus.monitoring:9090")
            if not self.monitored:
                raise JobError("scaler = keda scales by what the ServiceMonitor gathers: take --no-monitor away")
            url = urlsplit(self.prometheus)
            if url.scheme not in ("http", "https") or not url.hostname:
                raise JobError(f"prometheus = {self.prometheus!r} is no URL: http://HOST:PORT")
        elif self.prometheus is not None:
            raise JobError(f"prometheus has no effect with scaler = {self.scaler}: leave it out, or choose --scaler keda")
        if self.scaler == "none" and self.load.peak_per_s is not None:
            raise JobError("a peak has no effect with scaler = none, which never adds a replica: give --rate-per-s instead")


def render(target: str, directory: Path, out: Path, place: Place | None = None, *, trust: bool = False) -> tuple[Path, ...]:
    """The files that were written into `out`, each by one member of renderers/.

    Raises ArtifactError as `artifact.load` does or where a figure is missing, JobError for a target that nothing renders
    or a name that Kubernetes does not take, StoreError if `out` cannot be written.
    """
    members = [plugins.make(Renderer, MemberRef(name=name)) for name in plugins.names(Renderer)]  # type: ignore[type-abstract]
    wanted = [member for member in members if member.target == target]
    if not wanted:
        raise JobError(f"nothing renders {target!r}; there is {', '.join(sorted({m.target for m in members}))}")
    plan = plan_of(artifact.load(directory, trust=trust), place or Place())
    texts = {member.file: _text(member, plan) for member in wanted if member.wanted(plan)}
    unwanted = [member.file for member in wanted if not member.wanted(plan)]
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for file in unwanted:  # of an earlier choice: applied with the rest, two scalers would fight
            (out / file).unlink(missing_ok=True)
        for file, text in texts.items():
            (out / file).write_text(text, encoding="utf-8")
    return tuple(out / file for file in texts)


def plan_of(loaded: Artifact, place: Place) -> Plan:
    manifest = loaded.manifest
    name = place.name or _label(manifest.job_name)
    if not DNS_LABEL.fullmatch(name):
        raise JobError(f"name = {name!r} is no DNS label: give one of small letters, digits and '-', a letter first, --name")
    version = codec.digest(dict(manifest.files))[:VERSION_DIGITS]
    if not all(VERSION.fullmatch(word) for pair in manifest.versions.items() for word in pair):
        raise ArtifactError(f"{loaded.directory} was checked with packages whose names or versions cannot be: pack it again")
    return Plan(
        name=name,
        version=version,
        namespace=place.namespace,
        image=place.image or f"{name}:{version}",
        deployment=manifest.deployment,
        size=size(manifest.deployment, (*manifest.figures, manifest.speed), manifest.cost, place.load),
        drain_s=place.drain_s,
        scaler=place.scaler,
        prometheus=place.prometheus,
        monitored=place.monitored,
        pickled=manifest.pickled,
        needs_torch=manifest.needs_torch,
        versions=manifest.versions,
        manifest_sha256=codec.digest_file(loaded.directory / FILE),
    )


def _label(job_name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", job_name.lower()).strip("-")[:63].rstrip("-")


def _text(member: Renderer, plan: Plan) -> str:
    rendered = member.render(plan)
    return rendered if isinstance(rendered, str) else yaml(rendered, f"{plan.deployment}; one pod is one replica of it.")
