"""Router: the one with the least work left, in predicted seconds; ties in turn."""

from collections.abc import Sequence
from dataclasses import dataclass

from farthing.routers.base import Load, Router


@dataclass(slots=True, kw_only=True)
class LeastLoaded(Router):
    turn: int = 0

    def choose(self, loads: Sequence[Load]) -> int:
        self.turn += 1
        return min(
            range(len(loads)),
            key=lambda i: (loads[i].in_flight / loads[i].slots, loads[i].seconds_left, (i - self.turn) % len(loads)),
        )
