"""What counts of rare events say about their rate at every moment together: bounds that may be looked at after each request."""

import math

import numpy as np

NUM_STAKES = 12  # sizes of bets, each half the one before
LARGEST_STAKE = 0.99  # of what one request could lose


def log_capital(num_items: int, num_events: int, rate: float, *, up: bool = True) -> float:
    """log of the capital that bets on a rate above `rate` (`up`), or below it, have come to.

    Capital of stake s over n items with w events: (1 + s (1 - m))^w (1 - s m)^(n - w), 0 <= s < 1/m, a supermartingale where
    events come at a rate of at most m, whatever they depend on (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random
    variables by betting"); averaged over stakes it is one still, and reaches 1/alpha with chance alpha at most (Ville 1939).
    """
    sign, most = (1.0, 1.0 / rate) if up else (-1.0, 1.0 / (1.0 - rate) if rate < 1 else math.inf)
    stakes = sign * LARGEST_STAKE * min(most, 1e12) * 0.5 ** np.arange(NUM_STAKES)
    each = num_events * np.log1p(stakes * (1 - rate)) + (num_items - num_events) * np.log1p(-stakes * rate)
    return float(np.logaddexp.reduce(each)) - math.log(NUM_STAKES)


def rate_above(num_items: int, num_events: int, alpha: float) -> float:
    """The upper bound of a constant rate, at 1 - alpha, at every moment together: the largest that is not refuted."""
    low, high = num_events / max(1, num_items), 1.0
    for _ in range(40):
        middle = (low + high) / 2
        refuted = log_capital(num_items, num_events, middle, up=False) >= math.log(1 / alpha)
        low, high = (low, middle) if refuted else (middle, high)
    return high


def rate_below(num_items: int, num_events: int, alpha: float) -> float:
    """The lower bound: the smallest rate that is not refuted."""
    low, high = 0.0, num_events / max(1, num_items)
    if not num_events:
        return 0.0
    for _ in range(40):
        middle = (low + high) / 2
        refuted = log_capital(num_items, num_events, middle) >= math.log(1 / alpha)
        low, high = (middle, high) if refuted else (low, middle)
    return low
