"""The contract of a renderer: one file that describes a deployment to somebody else's machinery."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from farthing.sizing import Reasoned, Size
from farthing.types import Deployment

Tree = Mapping[str, Any]  # nested; its leaves are plain values or `Reasoned`, whose reason becomes a comment
SCALERS = ("hpa", "keda", "none")
PORT = 8000
PORT_NAME = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a renderer may know: of the artifact, of its size, and of the place that it goes to."""

    name: str  # a DNS label
    version: str  # of the model, from the digest of its files
    namespace: str
    image: str
    deployment: Deployment
    size: Size
    drain_s: float  # that the server takes, at most, to finish what is under way
    scaler: str  # one of SCALERS
    prometheus: str | None  # URL that KEDA asks
    monitored: bool
    pickled: bool
    needs_torch: bool
    versions: Mapping[str, str]  # of every package that was loaded when the artifact was checked, and of python
    manifest_sha256: str


class Renderer(ABC):
    """A frozen dataclass without state: the same plan gives the same text.

    Laws (checked over every member by `farthing.testing.renderers`):
    - rendering twice gives the same; no date, no path of the machine on which it was rendered.
    - a Kubernetes object carries name, namespace and labels of the plan, and what selects pods selects the plan's.
    - what is wanted for one scaler is not wanted for another.
    """

    target: ClassVar[str]  # what `farthing render TARGET` writes together
    file: ClassVar[str]

    def wanted(self, plan: Plan) -> bool:
        return True

    @abstractmethod
    def render(self, plan: Plan) -> Tree | str:
        """A tree is written as YAML, a text as it is."""


def kubernetes_object(kind: str, api_version: str, plan: Plan, spec: Tree) -> Tree:
    metadata = {"name": plan.name, "namespace": plan.namespace, "labels": labels(plan)}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}


def selector(plan: Plan) -> Tree:
    """What never changes while the deployment lives: a Deployment's selector cannot be edited."""
    return {"app.kubernetes.io/name": plan.name, "app.kubernetes.io/managed-by": "farthing"}


def labels(plan: Plan) -> Tree:
    return {**selector(plan), "app.kubernetes.io/version": plan.version}


def millicores(cpus: Reasoned) -> Reasoned:
    return Reasoned(value=f"{math.ceil(round(cpus.value * 1000, 3))}m", reason=cpus.reason)


def mebibytes(size: Reasoned) -> Reasoned:
    return Reasoned(value=f"{math.ceil(size.value / 2**20)}Mi", reason=size.reason)


def arguments(plan: Plan) -> Sequence[str]:
    """Of `farthing serve`, after the artifact: one replica, since each pod is one."""
    gib = math.ceil(plan.size.model_bytes.value / 2**20) / 2**10
    trust = ("--trust",) if plan.pickled else ()
    return ("--host", "0.0.0.0", "--port", str(PORT), "--drain-s", f"{plan.drain_s:g}", "--max-rss-gib", f"{gib:.4g}", *trust)
