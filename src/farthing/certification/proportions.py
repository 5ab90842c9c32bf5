"""Exact and score-based bounds for proportions: one, and the difference of two paired ones."""

import math

from scipy.special import betaincinv, ndtri

BISECTIONS = 60


def clopper_pearson(failures: float, num_items: float, alpha: float) -> tuple[float, float]:
    """One-sided lower and upper bound, each at 1 - alpha, of a proportion (Clopper & Pearson 1934).

    They solve P(X >= x | p) = alpha and P(X <= x | p) = alpha, X binomial; exact: the error never exceeds alpha.
    """
    lower = float(betaincinv(failures, num_items - failures + 1, alpha)) if failures > 0 else 0.0
    upper = float(betaincinv(failures + 1, num_items - failures, 1 - alpha)) if failures < num_items else 1.0
    return lower, upper


def paired_difference(lost: float, won: float, num_items: float, alpha: float) -> tuple[float, float]:
    """One-sided lower and upper bound of P(lost) - P(won), of `num_items` pairs of which so many are discordant.

    Tango's score interval (1998) inverts the score test. Where no pair speaks for one side, that test lets up to a third
    too many through at alpha = 0.05; there the exact bound of the other proportion, which bounds the difference, is
    taken if it is wider.
    """
    upper = _tango_upper(lost, won, num_items, alpha)
    lower = -_tango_upper(won, lost, num_items, alpha)
    if won == 0:
        upper = max(upper, clopper_pearson(lost, num_items, alpha)[1])
    if lost == 0:
        lower = min(lower, -clopper_pearson(won, num_items, alpha)[1])
    return lower, upper


def pairs_needed(lost: float, won: float, limit: float, *, alpha: float, power: float) -> float:
    """Pairs for the score test to find the difference of these two proportions below `limit` (Nam 1997).

    n = ((z_alpha sqrt(V0) + z_beta sqrt(V1)) / (limit - difference))^2, V0 and V1 the variances under limit and truth.
    """
    difference = lost - won
    if difference >= limit:
        return math.inf
    if limit >= 1:  # allows everything
        return 1.0
    under_limit = 2 * _constrained(lost, won, 1.0, limit) + limit - limit**2
    under_truth = max(0.0, lost + won - difference**2)
    z_alpha, z_beta = ndtri(1 - alpha), ndtri(power)
    by_score = float(((z_alpha * math.sqrt(under_limit) + z_beta * math.sqrt(under_truth)) / (limit - difference)) ** 2)
    return max(by_score, math.log(alpha) / math.log1p(-limit))  # fewer could hide failures of so large a share


def _tango_upper(lost: float, won: float, num_items: float, alpha: float) -> float:
    """The largest difference that the score test at alpha does not reject, by bisection."""
    z = float(ndtri(1 - alpha))
    low, high = (lost - won) / num_items, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if _score(lost, won, num_items, middle) > -z:
            low = middle
        else:
            high = middle
    return high


def _score(lost: float, won: float, num_items: float, difference: float) -> float:
    """Tango 1998: (b - c - n d) / sqrt(n (2 p + d (1 - d))), p the estimate of P(won) under the difference d."""
    variance = num_items * (2 * _constrained(lost, won, num_items, difference) + difference * (1 - difference))
    surplus = lost - won - num_items * difference
    return surplus / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, surplus) if surplus else 0.0


def _constrained(lost: float, won: float, num_items: float, difference: float) -> float:
    """The likeliest P(won) given P(lost) - P(won) = difference: root of 2n p^2 + B p - c d (1 - d) (Tango 1998)."""
    b = -lost - won + (2 * num_items - lost + won) * difference
    root = math.sqrt(max(0.0, b * b + 8 * num_items * won * difference * (1 - difference)))
    return max(0.0, (root - b) / (4 * num_items))
