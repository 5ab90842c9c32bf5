"""A HorizontalPodAutoscaler on CPU: needs nothing in the cluster but the metrics server."""

from dataclasses import dataclass
from typing import ClassVar

from farthing.renderers.base import Plan, Renderer, Tree, kubernetes_object
from farthing.sizing import Reasoned

CALM_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesHpa(Renderer):
    """Kubernetes aims at replicas = ceil(replicas * utilization / averageUtilization), of the CPU that a pod requests."""

    target: ClassVar[str] = "kubernetes"
    file: ClassVar[str] = "hpa.yaml"

    def wanted(self, plan: Plan) -> bool:
        return plan.scaler == "hpa"

    def render(self, plan: Plan) -> Tree:
        share = plan.size.busy_share
        aim = Reasoned(value=round(100 * share.value), reason=share.reason)
        return kubernetes_object(
            "HorizontalPodAutoscaler",
            "autoscaling/v2",
            plan,
            {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": plan.name},
                "minReplicas": plan.size.min_replicas,
                "maxReplicas": plan.size.max_replicas,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": aim}},
                    }
                ],
                "behavior": {
                    "scaleDown": {"stabilizationWindowSeconds": Reasoned(value=CALM_S, reason="a lull is no reason to go")}
                },
            },
        )
