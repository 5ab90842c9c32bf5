"""Whether a cache still keeps its budget of wrong hits: a test that may look after every request, for ever."""

import math
from dataclasses import dataclass, field

import numpy as np

from farthing.betting import log_capital, rate_above

BLOCK = 2_000  # requests between two starts of a new bet
MOST_STARTS = 64


@dataclass(slots=True, kw_only=True)
class Watch:
    """H0: of each request, the chance of a wrong hit is at most `budget`. A hit is shadowed with chance `shadow_share`, so
    that a request is *seen* wrong (x = 1) with chance at most m = budget * shadow_share.

    Capital of stake s over n requests of which w were seen wrong: (1 + s (1 - m))^w (1 - s m)^(n - w), 0 <= s < 1/m, a
    supermartingale under H0, whatever the traffic does (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random
    variables by betting"). Averaged over stakes, and over starts k = 0, 1, ... with weights 1 / ((k+1)(k+2)), so that a
    long good past does not hide a bad present, it is one still: it reaches 1/alpha with chance alpha at most (Ville 1939).
    """

    budget: float
    shadow_share: float
    alpha: float = 0.05
    block: int = BLOCK
    requests: int = 0
    shadowed: int = 0
    wrong: int = 0
    broken: bool = False
    _starts: list[tuple[int, int, int]] = field(default_factory=lambda: [(0, 0, 0)])  # number, requests and wrong before it
    _next: int = field(default=1)

    def __post_init__(self) -> None:
        for name in ("budget", "shadow_share", "alpha"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}: give a share above 0 and at most 1")

    def request(self, *, shadowed: bool = False, wrong: bool = False) -> None:
        """One request went by. A shadow that got no answer from the model is not to be told: it says nothing."""
        if self.requests >= self._next * self.block:
            self._starts.append((self._next, self.requests, self.wrong))
            self._next += 1
            if len(self._starts) > MOST_STARTS:  # leaving a bet out can only lose capital
                self._starts = self._starts[:1] + self._starts[2::2]
        self.requests += 1
        self.shadowed += shadowed
        self.wrong += wrong
        if wrong and not self.broken:  # capital grows at no other time
            self.broken = self.log_capital() >= math.log(1 / self.alpha)

    def log_capital(self) -> float:
        m = self.budget * self.shadow_share
        terms = [
            log_capital(self.requests - before, self.wrong - wrong_before, m) - math.log((k + 1) * (k + 2))
            for k, before, wrong_before in self._starts
        ]
        return float(np.logaddexp.reduce(terms))

    def upper_bound(self) -> float:
        """Of wrong hits per request since the beginning, at 1 - alpha, at every moment together (where the rate is constant).

        A wrong hit is seen with chance `shadow_share`.
        """
        return min(1.0, rate_above(self.requests, self.wrong, self.alpha) / self.shadow_share)
