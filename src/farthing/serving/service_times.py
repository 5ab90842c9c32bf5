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
Coefficients = tuple[float, float, float]


@dataclass(slots=True, kw_only=True)
class ServiceTimes:
    """T(b, n) = a + c b + d b n seconds, none of them negative, by least squares in which older batches count ever less.

    information_k = f information_{k-1} + (1 - f) prior + x x' / noise, so that what is forgotten becomes the plan again
    (stabilized forgetting, Milek and Kraus 1995). Forgotten towards nothing, whatever traffic does not tell apart would grow
    without bound: with batches of one, a and c. Errors are weighed by 1 / T, so that long batches do not drown short ones.
    """

    theta: Coefficients  # a, c, d
    prior: Coefficients = field(repr=False)  # information about each of the plan's
    planned_theta: Coefficients = field(repr=False)
    information: list[list[float]] = field(repr=False)
    moment: list[float] = field(repr=False)  # information times theta, were no coefficient kept from being negative
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
        a, c, d = (1.0 / (PRIOR * max(abs(t), 0.1 * whole_s / unit) ** 2) for t, unit in zip(theta, units, strict=True))
        return cls(
            theta=theta,
            prior=(a, c, d),
            planned_theta=theta,
            information=[[a, 0.0, 0.0], [0.0, c, 0.0], [0.0, 0.0, d]],
            moment=[a * theta[0], c * theta[1], d * theta[2]],
        )

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
        for i, row in enumerate(self.information):
            for j in range(3):
                row[j] = FORGETTING * row[j] + x[i] * x[j] / NOISE
            row[i] += (1.0 - FORGETTING) * self.prior[i]
            again = (1.0 - FORGETTING) * self.prior[i] * self.planned_theta[i]
            self.moment[i] = FORGETTING * self.moment[i] + again + x[i] / NOISE
        self.theta = _not_negative(self.information, self.moment)
        self.num_seen += 1


def _not_negative(information: Sequence[Sequence[float]], moment: Sequence[float]) -> Coefficients:
    """The solution; while a coefficient is negative, the most negative share of it is held at 0 and the others solved anew."""
    free = [0, 1, 2]
    theta = [0.0, 0.0, 0.0]
    while free:
        found = _solved([[information[i][j] for j in free] for i in free], [moment[i] for i in free])
        scaled = [value * information[i][i] ** 0.5 for i, value in zip(free, found, strict=True)]
        worst = min(range(len(free)), key=scaled.__getitem__)
        if scaled[worst] >= 0.0:
            for i, value in zip(free, found, strict=True):
                theta[i] = value
            break
        del free[worst]
    a, c, d = theta
    return a, c, d


def _solved(matrix: list[list[float]], target: list[float]) -> list[float]:
    """By elimination without pivots: the matrix is symmetric and positive definite."""
    size = len(target)
    for i in range(size):
        for k in range(i + 1, size):
            factor = matrix[k][i] / matrix[i][i]
            for j in range(i, size):
                matrix[k][j] -= factor * matrix[i][j]
            target[k] -= factor * target[i]
    for i in reversed(range(size)):
        target[i] = (target[i] - sum(matrix[i][j] * target[j] for j in range(i + 1, size))) / matrix[i][i]
    return target
