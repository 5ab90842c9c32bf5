"""Router: the cheapest replica for this batch, among unlike ones; of those that cost alike the one with the least work left."""

from collections.abc import Sequence
from dataclasses import dataclass

from farthing.routers.base import Load, Router


@dataclass(slots=True, kw_only=True)
class CostAware(Router):
    """Prices within `tolerance` of the cheapest count as alike; ties go round."""

    tolerance: float = 0.02
    turn: int = 0

    def choose(self, loads: Sequence[Load]) -> int:
        self.turn += 1
        ceiling = min(load.usd_per_batch for load in loads) * (1 + self.tolerance)
        cheap = [i for i, load in enumerate(loads) if load.usd_per_batch <= ceiling]
        return min(
            cheap, key=lambda i: (loads[i].in_flight / loads[i].slots, loads[i].seconds_left, (i - self.turn) % len(loads))
        )
