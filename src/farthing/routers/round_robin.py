"""Router: each in turn."""

from collections.abc import Sequence
from dataclasses import dataclass

from farthing.routers.base import Load, Router


@dataclass(slots=True, kw_only=True)
class RoundRobin(Router):
    """By name, so that a replica that is away does not shift the turns of the others."""

    last: str = ""

    def choose(self, loads: Sequence[Load]) -> int:
        later = [i for i, load in enumerate(loads) if load.name > self.last]
        chosen = min(later or range(len(loads)), key=lambda i: loads[i].name)
        self.last = loads[chosen].name
        return chosen
