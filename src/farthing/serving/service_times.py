"""How long a batch will take: the plan's own model, refitted with every batch that was served."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from farthing.results import ServiceModel

FORGETTING = 0.995  # of what earlier batches say, with each new one: half of it is gone after some 140
PRIOR = 0.25  # variance of the plan's coefficients, relative to their squares
NOISE = 0.01  # variance of one batch's time, relative to its square
LEAST_S = 1e-5
RECENT = 2000  # batches of which it is known how far the model missed them


@dataclass(slots=True, kw_only=True)
class ServiceTimes:
    """T(b, n) = a + c b + d b n seconds, by recursive least squares with forgetting (Ljung, System Identification, eq. 11.22).

    Errors are weighed by 1 / T, so that long batches do not drown short ones. Starts from the plan, or from one measured batch.
    """

    theta: tuple[float, float, float]  # a, c, d
    covariance: tuple[tuple[float, float, float], ...] = field(repr=False)
    num_seen: int = 0
    ratios: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT), repr=False)  # what it took over what was said
    between_s: float = 0.0  # running mean: while a batch holds its replica's place and the model does not run

    @classmethod
    def planned(cls, service: ServiceModel | None, length: float, *, guess_s: float = 0.01) -> "ServiceTimes":
        """From the plan's T(b, n) = c0 + b (host + c1 + c2 n + c3 n^2), squared at `length`; else `guess_s` a batch."""
        if service is None:
            theta = (guess_s, guess_s / 10, 0.0)
        else:
            c0, c1, c2, c3 = service.coefficients
            theta = (c0, c1 + service.host_s, c2 + c3 * length)
        whole_s = theta[0] + theta[1] + theta[2] * length
        units = (1.0, 1.0, length)
        variances = [PRIOR * max(abs(t), 0.1 * whole_s / unit) ** 2 for t, unit in zip(theta, units, strict=True)]
        v0, v1, v2 = variances
        return cls(theta=theta, covariance=((v0, 0.0, 0.0), (0.0, v1, 0.0), (0.0, 0.0, v2)))

    def seconds(self, batch_size: int, length: float) -> float:
        a, c, d = self.theta
        return max(LEAST_S, a + batch_size * (c + d * length))

    def learn(self, batch_size: int, length: float, seconds: float, between_s: float = 0.0) -> None:
        if not seconds > 0.0:
            return
        self.ratios.append(seconds / self.seconds(batch_size, length))
        self.between_s += (between_s - self.between_s) * max(1.0 / (self.num_seen + 1), 1.0 - FORGETTING)
        # Plain floats: three of them are less work than one call of NumPy, and this runs with each batch.
        x = (1.0 / seconds, batch_size / seconds, batch_size * length / seconds)  # weighed by 1 / T: the target is 1
        spread = [_dot(row, x) for row in self.covariance]
        denominator = FORGETTING * NOISE + _dot(x, spread)
        gain = [value / denominator for value in spread]
        missed = 1.0 - _dot(x, self.theta)
        a, c, d = (max(0.0, t + g * missed) for t, g in zip(self.theta, gain, strict=True))
        self.theta = a, c, d
        first, second, third = (
            (
                (row[0] - g * spread[0]) / FORGETTING,
                (row[1] - g * spread[1]) / FORGETTING,
                (row[2] - g * spread[2]) / FORGETTING,
            )
            for row, g in zip(self.covariance, gain, strict=True)
        )
        self.covariance = first, second, third
        self.num_seen += 1


def _dot(x: Sequence[float], y: Sequence[float]) -> float:
    return x[0] * y[0] + x[1] * y[1] + x[2] * y[2]
