"""How late answers come beside what was foretold on admission, so that what is admitted is answered in time."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

PUNCTUAL = 0.995  # of what was admitted
RECENT, EVERY = 1000, 50  # answers that count, and after how many the margin is set anew
MOST_MARGIN = 2.0  # one stall of the machine must not close the door for good
TIGHT_SHARE = 0.25  # of its deadline that was foretold: what is far from it says nothing about coming late


@dataclass(slots=True)
class Punctuality:
    """An item is admitted where margin * its predicted wait <= its deadline.

    Under overload every item that is admitted was foretold to be just in time, so any error of the prediction makes it late:
    the margin is the PUNCTUAL quantile of what waits took over what was foretold.
    """

    margin: float = 1.0
    ratios: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT), repr=False)
    num_fresh: int = 0

    def note(self, predicted_s: float, took_s: float, deadline_s: float) -> None:
        if predicted_s < TIGHT_SHARE * deadline_s:
            return
        self.ratios.append(took_s / predicted_s)
        self.num_fresh += 1
        if self.num_fresh == EVERY:
            self.num_fresh = 0
            self.margin = min(MOST_MARGIN, max(1.0, float(np.quantile(np.array(self.ratios), PUNCTUAL))))
