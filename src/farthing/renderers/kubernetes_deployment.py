"""A Deployment: each pod is one replica, sized by what was measured, warm before it is ready, drained before it goes."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from farthing.renderers.base import (
    PORT,
    PORT_NAME,
    Plan,
    Renderer,
    Tree,
    arguments,
    kubernetes_object,
    labels,
    mebibytes,
    millicores,
    selector,
)
from farthing.sizing import Reasoned

START_EVERY_S, LONGEST_START_S = 2, 300
FORGET_S = 5  # until every node has taken the pod off its list
MARGIN_S = 15  # for the processes to end once they are drained
USER = 10001  # that the container file makes


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesDeployment(Renderer):
    target: ClassVar[str] = "kubernetes"
    file: ClassVar[str] = "deployment.yaml"

    def render(self, plan: Plan) -> Tree:
        fixed = {"replicas": plan.size.min_replicas} if plan.scaler == "none" else {}  # else the scaler's, and its alone
        return kubernetes_object(
            "Deployment",
            "apps/v1",
            plan,
            {
                **fixed,
                "revisionHistoryLimit": 3,
                "selector": {"matchLabels": selector(plan)},
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {
                        "maxUnavailable": Reasoned(value=0, reason="a pod goes only when its successor is ready"),
                        "maxSurge": 1,
                    },
                },
                "template": {"metadata": {"labels": labels(plan)}, "spec": _pod(plan)},
            },
        )


def _pod(plan: Plan) -> Tree:
    drain_s = math.ceil(plan.drain_s)
    reason = f"{FORGET_S} s before SIGTERM, {drain_s} s of --drain-s, {MARGIN_S} s for the processes to end"
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": Reasoned(value=FORGET_S + drain_s + MARGIN_S, reason=reason),
        "topologySpreadConstraints": [_spread("kubernetes.io/hostname", plan), _spread("topology.kubernetes.io/zone", plan)],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(plan)],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "256Mi"}}],
    }


def _container(plan: Plan) -> Tree:
    return {
        "name": "farthing",
        "image": plan.image,
        "args": [*arguments(plan), "--replicas", "1"],
        "env": [{"name": "HOME", "value": "/tmp"}],
        "ports": [{"name": PORT_NAME, "containerPort": PORT}],
        "resources": _resources(plan),
        "startupProbe": _probe(
            "/readyz",
            period_s=START_EVERY_S,
            failures=Reasoned(value=LONGEST_START_S // START_EVERY_S, reason=f"{LONGEST_START_S} s to load and to warm up"),
        ),
        "readinessProbe": _probe("/readyz", period_s=2, failures=2),
        "livenessProbe": _probe(
            "/healthz",
            period_s=10,
            failures=Reasoned(value=3, reason="the server itself says when nothing moves; busy is alive"),
        ),
        "lifecycle": {
            "preStop": {"sleep": {"seconds": Reasoned(value=FORGET_S, reason="until no node sends requests here any more")}}
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
    }


def _resources(plan: Plan) -> Tree:
    size = plan.size
    gpu: dict[str, Any] = {}
    if plan.deployment.build.device_kind == "cuda":
        gpu = {"nvidia.com/gpu": Reasoned(value=1, reason="it was measured on one GPU of its own")}
    memory = mebibytes(size.memory_bytes)
    return {
        "requests": {"cpu": millicores(size.cpus), "memory": memory, **gpu},
        "limits": {
            "cpu": millicores(size.cpus_limit),
            "memory": Reasoned(value=memory.value, reason="as requested: memory that is lent out is taken back by a kill"),
            **gpu,
        },
    }


def _probe(path: str, *, period_s: int, failures: int | Reasoned) -> Tree:
    return {
        "httpGet": {"path": path, "port": PORT_NAME},
        "periodSeconds": period_s,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def _spread(key: str, plan: Plan) -> Tree:
    """Wished for, not demanded: a pod on a full node answers, a pending one does not."""
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(plan)},
    }
