"""Router: in proportion to weights, spread smoothly rather than in runs (the smooth weighted round robin of nginx)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from farthing.routers.base import Load, Router


@dataclass(slots=True, kw_only=True)
class Weighted(Router):
    """Everyone's credit grows by its weight; the richest is chosen and pays the sum of all weights."""

    credit: dict[str, float] = field(default_factory=dict)

    def choose(self, loads: Sequence[Load]) -> int:
        for load in loads:
            self.credit[load.name] = self.credit.get(load.name, 0.0) + load.weight
        chosen = max(range(len(loads)), key=lambda i: self.credit[loads[i].name])
        self.credit[loads[chosen].name] -= sum(load.weight for load in loads)
        return chosen
