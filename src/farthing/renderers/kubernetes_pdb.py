"""A PodDisruptionBudget: a drained node takes one replica at a time."""

from dataclasses import dataclass
from typing import ClassVar

from farthing.renderers.base import Plan, Renderer, Tree, kubernetes_object, selector
from farthing.sizing import Reasoned


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesPdb(Renderer):
    target: ClassVar[str] = "kubernetes"
    file: ClassVar[str] = "pdb.yaml"

    def render(self, plan: Plan) -> Tree:
        least = plan.size.min_replicas.value
        reason = (
            f"{least - 1} of {least} stay"
            if least > 1
            else "a single replica: a drained node interrupts it; --spare 1 keeps one"
        )
        return kubernetes_object(
            "PodDisruptionBudget",
            "policy/v1",
            plan,
            {
                "maxUnavailable": Reasoned(value=1, reason=reason),
                "unhealthyPodEvictionPolicy": Reasoned(
                    value="AlwaysAllow", reason="one that never starts must not hold a node"
                ),
                "selector": {"matchLabels": selector(plan)},
            },
        )
