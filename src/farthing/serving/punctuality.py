"""How far predictions were off, so that what has a deadline is given up neither too early nor too late."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

RECENT, EVERY = 1000, 50  # ratios that count, and after how many the margin is set anew
MOST_MARGIN = 2.0  # one stall of the machine must not close the door for good
TIGHT_SHARE = 0.25  # of its deadline that an item was foretold to wait: what is far from it says nothing about coming late
LIKELY, NEARLY_SURE = 0.5, 0.99


@dataclass(slots=True)
class Margin:
    """The `quantile` of what things took over what was foretold, from 1 to MOST_MARGIN."""

    quantile: float
    value: float = 1.0
    ratios: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT), repr=False)
    num_fresh: int = 0

    def note(self, ratio: float) -> None:
        self.ratios.append(ratio)
        self.num_fresh += 1
        if self.num_fresh == EVERY:
            self.num_fresh = 0
            self.value = min(MOST_MARGIN, max(1.0, float(np.quantile(np.array(self.ratios), self.quantile))))


@dataclass(slots=True)
class Punctuality:
    """Of an item's time, its wait is known when its turn has come; only what its batch takes is not.

    So the door refuses what is likelier late than not (`starts`: median), and the turn what cannot be answered in time
    nearly for sure (`takes`: under overload every item that is left is just in time, and any error makes it late). A door
    that asks for certainty of the whole refuses items of every burst that would have been in time.
    """

    starts: Margin = field(default_factory=lambda: Margin(LIKELY))
    takes: Margin = field(default_factory=lambda: Margin(NEARLY_SURE))

    def started(self, foretold_s: float, waited_s: float, deadline_s: float) -> None:
        if foretold_s >= TIGHT_SHARE * deadline_s:
            self.starts.note(waited_s / foretold_s)
