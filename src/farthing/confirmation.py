"""What passed is timed again, side by side: every other round decides the choice, the rest tell what everything costs."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from farthing import codec
from farthing.measurement.service import side_by_side
from farthing.results import Candidate, Measurement, ServiceModel, Trial
from farthing.trial import baseline_trial, screened, usd
from farthing.types import Array, Deployment
from farthing.workshop import Workshop, service_of


def confirm(shop: Workshop, named: Sequence[Trial], driven: Sequence[Candidate]) -> list[Candidate]:
    """The driven candidates; those that passed have the cost of fresh rounds, taken in turns with each other and the baseline.

    Costs from different minutes must not be compared, and the least of several is less than it will be. So each carries two
    figures, its cost / the baseline's: `choosing_ratio` of the even rounds, which `choose` goes by, and `cost_ratio` of the odd
    ones, which nothing was chosen by and which its cost is told from. One that cannot hold the ceilings at the times measured
    now keeps the cost that it had.
    """
    trials = {trial.build: trial for trial in named}
    passed = [c for c in driven if c.rejected is None and c.cost is not None]
    if not passed:
        return list(driven)
    key = codec.digest(tuple(c.deployment for c in passed))
    again = [replace(trials[c.deployment.build], candidate=c) for c in passed]
    ratios = shop.store.once("confirmed", key, lambda: _ratios(shop, again))
    found = dict(zip((c.deployment for c in passed), ratios, strict=True))
    return [_at(shop, c, found.get(c.deployment, ())) for c in driven]


def _ratios(shop: Workshop, trials: Sequence[Trial]) -> tuple[tuple[Measurement, ...], ...]:
    shapes = [(t.candidate.deployment.batch_size, int(np.median(shop.lengths))) for t in trials]
    with ExitStack() as stack:
        workers = []
        for trial in trials:
            deployment = trial.candidate.deployment
            assert trial.directory is not None
            layout = deployment.threads, deployment.streams
            workers.append(stack.enter_context(shop.opened(trial.build, trial.directory, layout)))
        rounds = side_by_side(list(zip(workers, shapes, strict=True)), shop.yardstick)
    return tuple(_both(shop, *one) for one in zip(trials, shapes, rounds, strict=True))


def _both(shop: Workshop, trial: Trial, shape: tuple[int, int], seconds: Array) -> tuple[Measurement, ...]:
    """`choosing_ratio` and `cost_ratio`, or nothing where a ceiling is missed at these times."""
    halves = (("choosing_ratio", seconds[0::2]), ("cost_ratio", seconds[1::2]))
    ratios = [ratio for name, part in halves if (ratio := _ratio(shop, trial, shape, part, name)) is not None]
    return tuple(ratios) if len(ratios) == len(halves) else ()


def _ratio(shop: Workshop, trial: Trial, shape: tuple[int, int], seconds: Array, name: str) -> Measurement | None:
    """Its whole bill is priced again with service times that are as much slower or faster than the fitted ones."""
    deployment = trial.candidate.deployment
    service = service_of(trial, deployment)
    fitted_s = replace(service, host_s=0.0).seconds(*shape)
    costs = sorted(_usd(shop, trial, deployment, _scaled(service, s / fitted_s)) for s in seconds)
    if not np.isfinite(np.median(costs)):
        return None
    baseline_usd = usd(baseline_trial(shop).candidate)
    return Measurement(
        name=name, value=float(np.median(costs)) / baseline_usd, unit="1",
        low=costs[1] / baseline_usd, high=costs[-2] / baseline_usd, num_samples=len(costs),
        protocol=f"every other one of {2 * len(costs)} rounds after the load, in which all that passed and the baseline take "
        "turns; median, second least and second largest",
    )  # fmt: skip


def _at(shop: Workshop, candidate: Candidate, ratios: tuple[Measurement, ...]) -> Candidate:
    """The candidate with the cost that was measured last: every line of its bill, and its energy, in proportion."""
    cost = candidate.cost
    if not ratios or cost is None:
        return candidate
    usd_per_million = ratios[-1].value * usd(baseline_trial(shop).candidate)
    factor = usd_per_million / cost.usd_per_million
    lines = tuple(replace(line, quantity=line.quantity * factor, usd=line.usd * factor) for line in cost.lines)

    def scaled(value: float | None) -> float | None:
        return None if value is None else value * factor

    confirmed = replace(
        cost,
        lines=lines,
        usd_per_million=usd_per_million,
        usd_per_month=cost.usd_per_month * factor,
        joules_per_million=scaled(cost.joules_per_million),
        grams_co2e_per_million=scaled(cost.grams_co2e_per_million),
    )
    return replace(candidate, cost=confirmed, figures=(*candidate.figures, *ratios))


def _usd(shop: Workshop, trial: Trial, deployment: Deployment, service: ServiceModel) -> float:
    found = screened(shop, trial, deployment, service)
    return float("inf") if found is None else found.cost.usd_per_million


def _scaled(service: ServiceModel, factor: float) -> ServiceModel:
    c0, c1, c2, c3 = service.coefficients
    return replace(service, coefficients=(c0 * factor, c1 * factor, c2 * factor, c3 * factor))
