"""How long a batch will take: the plan's own model, refitted with every batch that was served."""

from dataclasses import dataclass, field

import numpy as np

from farthing.results import ServiceModel
from farthing.types import Array

FORGETTING = 0.995  # of what earlier batches say, with each new one: half of it is gone after some 140
PRIOR = 0.25  # variance of the plan's coefficients, relative to their squares
NOISE = 0.01  # variance of one batch's time, relative to its square
LEAST_S = 1e-5


@dataclass(slots=True, kw_only=True)
class ServiceTimes:
    """T(b, n) = a + c b + d b n seconds, by recursive least squares with forgetting (Ljung, System Identification, eq. 11.22).

    Errors are weighed by 1 / T, so that long batches do not drown short ones. Starts from the plan, or from one measured batch.
    """

    theta: Array = field(repr=False)  # (a, c, d)
    covariance: Array = field(repr=False)
    num_seen: int = 0

    @classmethod
    def planned(cls, service: ServiceModel | None, length: float, *, guess_s: float = 0.01) -> "ServiceTimes":
        """From the plan's T(b, n) = c0 + b (host + c1 + c2 n + c3 n^2), squared at `length`; else `guess_s` a batch."""
        if service is None:
            theta = np.array([guess_s, guess_s / 10, 0.0])
        else:
            c0, c1, c2, c3 = service.coefficients
            theta = np.array([c0, c1 + service.host_s, c2 + c3 * length])
        whole_s = theta @ (1.0, 1.0, length)
        scale = np.maximum(np.abs(theta), 0.1 * whole_s / np.array([1.0, 1.0, length]))
        return cls(theta=theta, covariance=np.diag(PRIOR * scale**2))

    def seconds(self, batch_size: int, length: float) -> float:
        return max(LEAST_S, float(self.theta @ (1.0, batch_size, batch_size * length)))

    def learn(self, batch_size: int, length: float, seconds: float) -> None:
        if not seconds > 0.0:
            return
        x = np.array([1.0, batch_size, batch_size * length]) / seconds  # weighed by 1 / T: the target is 1
        spread = self.covariance @ x
        gain = spread / (FORGETTING * NOISE + x @ spread)
        self.theta = np.maximum(self.theta + gain * (1.0 - x @ self.theta), 0.0)
        self.covariance = (self.covariance - np.outer(gain, spread)) / FORGETTING
        self.num_seen += 1
