"""The receipt: the plan's own rate, times what is really kept busy."""

from dataclasses import replace

import pytest

from farthing.artifact import Artifact
from farthing.results import Cost, CostLine
from farthing.serving.receipt import Receipt


def bill(unit: str, quantity: float, usd_per_unit: float, usd_per_month: float = 0.0) -> Cost:
    line = CostLine(
        sku="x", unit=unit, quantity=quantity, usd_per_unit=usd_per_unit, usd=quantity * usd_per_unit, source="", observed_at=""
    )
    return Cost(lines=(line,), usd_per_million=line.usd, usd_per_month=usd_per_month)


def test_by_the_share_busy_seconds_are_paid(artifact: Artifact) -> None:
    # a million requests keep one stream of two threads busy for 5,000 s: 10,000 vCPU-seconds
    deployment = replace(artifact.manifest.deployment, threads=2, streams=1)
    manifest = replace(artifact.manifest, deployment=deployment, cost=bill("vCPU-second", 10_000, 1e-5))
    receipt = Receipt.of(manifest, 1)
    receipt.busy_s, receipt.num_answered = 50.0, 10_000
    assert receipt.actual_usd_per_million == pytest.approx(receipt.predicted_usd_per_million)
    receipt.busy_s = 100.0
    assert "2.00 of the plan" in receipt.line()


def test_whole_machines_are_paid_by_the_clock(artifact: Artifact) -> None:
    manifest = replace(artifact.manifest, cost=bill("machine-hour", 2.0, 0.5, usd_per_month=730.5))
    receipt = Receipt.of(manifest, 1)
    receipt.started_s -= 3600.0
    receipt.num_answered = 500_000
    assert receipt.actual_usd_per_million == pytest.approx(2.0, rel=0.01)


def test_without_a_plan_nothing_is_compared(artifact: Artifact) -> None:
    receipt = Receipt.of(replace(artifact.manifest, cost=None), 1)
    receipt.num_answered = 5
    assert receipt.actual_usd_per_million is None
    assert "no planned cost" in receipt.line()
