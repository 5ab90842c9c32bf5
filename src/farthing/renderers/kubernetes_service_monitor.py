"""A ServiceMonitor of the Prometheus operator: /metrics of every pod, under the Service's name."""

from dataclasses import dataclass
from typing import ClassVar

from farthing.renderers.base import PORT_NAME, Plan, Renderer, Tree, kubernetes_object, selector
from farthing.sizing import Reasoned


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesServiceMonitor(Renderer):
    target: ClassVar[str] = "kubernetes"
    file: ClassVar[str] = "service-monitor.yaml"

    def wanted(self, plan: Plan) -> bool:
        return plan.monitored

    def render(self, plan: Plan) -> Tree:
        every = Reasoned(value="15s", reason="four samples in a rate over one minute")
        return kubernetes_object(
            "ServiceMonitor",
            "monitoring.coreos.com/v1",
            plan,
            {
                "selector": {"matchLabels": selector(plan)},
                "namespaceSelector": {"matchNames": [plan.namespace]},
                "endpoints": [{"port": PORT_NAME, "path": "/metrics", "interval": every}],
            },
        )
