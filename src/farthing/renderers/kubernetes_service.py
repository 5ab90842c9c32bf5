"""A Service: one address before all ready pods."""

from dataclasses import dataclass
from typing import ClassVar

from farthing.renderers.base import PORT_NAME, Plan, Renderer, Tree, kubernetes_object, selector


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesService(Renderer):
    target: ClassVar[str] = "kubernetes"
    file: ClassVar[str] = "service.yaml"

    def render(self, plan: Plan) -> Tree:
        port = {"name": PORT_NAME, "port": 80, "targetPort": PORT_NAME, "protocol": "TCP"}
        return kubernetes_object("Service", "v1", plan, {"type": "ClusterIP", "selector": selector(plan), "ports": [port]})
