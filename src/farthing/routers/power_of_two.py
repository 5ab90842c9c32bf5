"""Router: the less loaded of two drawn at random: nearly as good as the least of all, without herds (Mitzenmacher 2001)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from farthing.routers.base import Load, Router


@dataclass(slots=True, kw_only=True)
class PowerOfTwo(Router):
    seed: int = 0
    draw: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)

    def choose(self, loads: Sequence[Load]) -> int:
        two = self.draw.sample(range(len(loads)), min(2, len(loads)))
        return min(two, key=lambda i: (loads[i].in_flight / loads[i].slots, loads[i].seconds_left))
