"""A KEDA ScaledObject on what the replicas themselves tell Prometheus: busy streams and waiting requests."""

from dataclasses import dataclass
from typing import ClassVar

from farthing.renderers.base import Plan, Renderer, Tree, kubernetes_object
from farthing.sizing import Reasoned

EVERY_S, CALM_S = 15, 300


@dataclass(frozen=True, slots=True, kw_only=True)
class KedaScaledObject(Renderer):
    """Replicas = max over triggers of ceil(query / threshold).

    Busy streams are sum(rate(farthing_batch_seconds_sum)): seconds in the model per second. They call for a replica at the
    same share of use whether or not the model is as fast as planned; a threshold in requests per second would not. Where
    all streams are busy the sum stands still, and the waiting requests call.
    """

    target: ClassVar[str] = "kubernetes"
    file: ClassVar[str] = "scaled-object.yaml"

    def wanted(self, plan: Plan) -> bool:
        return plan.scaler == "keda"

    def render(self, plan: Plan) -> Tree:
        of = f'{{namespace="{plan.namespace}",service="{plan.name}"}}'
        return kubernetes_object(
            "ScaledObject",
            "keda.sh/v1alpha1",
            plan,
            {
                "scaleTargetRef": {"name": plan.name},
                "minReplicaCount": plan.size.min_replicas,
                "maxReplicaCount": plan.size.max_replicas,
                "pollingInterval": EVERY_S,
                "cooldownPeriod": CALM_S,
                "fallback": {
                    "failureThreshold": 4,
                    "replicas": Reasoned(value=plan.size.max_replicas.value, reason="blind, the peak is carried"),
                },
                "triggers": [
                    _trigger(plan, f"sum(rate(farthing_batch_seconds_sum{of}[1m]))", plan.size.busy_streams),
                    _trigger(plan, f"sum(farthing_waiting{of})", plan.size.waiting),
                ],
            },
        )


def _trigger(plan: Plan, query: str, threshold: Reasoned) -> Tree:
    assert plan.prometheus is not None, "checked when the plan was made"
    return {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": plan.prometheus,
            "query": query,
            "threshold": Reasoned(value=f"{threshold.value:g}", reason=threshold.reason),
        },
    }
