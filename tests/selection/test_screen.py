"""Of deployments that the fit of service times cannot tell apart, the one with the smallest batches."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from farthing.results import ServiceModel
from farthing.selection.screen import Screened, best_deployment
from farthing.selection.simulation import Simulated
from farthing.types import Deployment, Prices, Slo, Traffic

from .builders import build, cost


@dataclass(frozen=True)
class Asked:
    """What of a job the screen reads."""

    traffic: Traffic = field(default_factory=lambda: Traffic(scenario="offline", num_items=100, deadline_s=1e6))
    prices: Prices = field(default_factory=Prices)
    slo: Slo = field(default_factory=Slo)


@pytest.mark.parametrize(("error", "chosen"), [(0.0, 64), (0.02, 8), (0.5, 4)])
def test_what_cannot_be_told_apart_goes_to_the_smaller_batch(
    error: float, chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    usd = {1: 2.0, 2: 1.2, 4: 1.04, 8: 1.015, 16: 1.01, 32: 1.005, 64: 1.0}
    simulated = Simulated(latencies_s=np.ones(3), busy_s=1.0, elapsed_s=1.0)

    def screen(deployment: Deployment, *_: object) -> Screened:
        return Screened(deployment=deployment, simulated=simulated, capacity_per_s=1.0, cost=cost(usd[deployment.batch_size]))

    monkeypatch.setattr("farthing.selection.screen.screen", screen)
    service = ServiceModel(coefficients=(0, 1, 0, 0), relative_error=error, host_s=0.0, threads=1, streams=1)
    job: Any = Asked()
    found = best_deployment(build(), [service], job, np.ones(3), lambda *_: cost(1.0))
    assert isinstance(found, Screened) and found.deployment.batch_size == chosen
