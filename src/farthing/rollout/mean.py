"""The mean of bounded values, with bounds that hold at every moment together."""

import math
from dataclasses import dataclass

LARGEST_STAKE = 0.5


@dataclass(slots=True, kw_only=True)
class Mean:
    """Predictable plug-in empirical Bernstein (Waudby-Smith & Ramdas 2024, theorem 2), for values x in [0, 1]:

    sum(l x) / sum(l) +- (log(2 / alpha) + sum(v psi(l))) / sum(l), with v_i = 4 (x_i - mean_{i-1})^2,
    psi(l) = (-log(1 - l) - l) / 4, l_i = min(1/2, sqrt(2 log(2 / alpha) / (variance_{i-1} i log(1 + i)))).
    """

    alpha: float
    num_values: int = 0
    total: float = 0.0
    squares: float = 0.0  # sum of (x_i - mean_i)^2, as the variance of the plug-in takes it
    stakes: float = 0.0
    staked: float = 0.0
    penalty: float = 0.0

    def add(self, value: float) -> None:
        """`value` above 1 counts as 1."""
        value = min(1.0, max(0.0, value))
        i, before = self.num_values + 1, (0.5 + self.total) / (self.num_values + 1)
        variance = (0.25 + self.squares) / i
        stake = min(LARGEST_STAKE, math.sqrt(2 * math.log(2 / self.alpha) / (variance * i * math.log1p(i))))
        self.num_values, self.total = i, self.total + value
        self.squares += (value - (0.5 + self.total) / (i + 1)) ** 2
        self.stakes += stake
        self.staked += stake * value
        self.penalty += (value - before) ** 2 * (-math.log1p(-stake) - stake)

    @property
    def bounds(self) -> tuple[float, float]:
        if not self.num_values:
            return 0.0, 1.0
        middle, width = self.staked / self.stakes, (math.log(2 / self.alpha) + self.penalty) / self.stakes
        return max(0.0, middle - width), min(1.0, middle + width)
