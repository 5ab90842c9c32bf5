"""The receipt: what the plan said a million requests would cost, beside what they do cost."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from farthing.artifact import Manifest
from farthing.units import MILLION, SECONDS_PER_MONTH


@dataclass(slots=True, kw_only=True)
class Receipt:
    """By the share, busy stream-seconds are paid, at the rate of the plan's bill; whole machines are paid by the clock.

    usd = busy_s * usd_per_busy_s + what looking in the cache cost, or elapsed_s * usd_per_s; per million: usd / answered
    * 1e6. Shed requests cost what they kept busy, and answer nobody. Without a plan's cost there is nothing to compare.
    """

    predicted_usd_per_million: float | None
    usd_per_busy_s: float  # of one stream
    usd_per_s: float  # of all machines; 0.0 where the share is paid
    started_s: float = field(default_factory=time.monotonic)
    started_cpu_s: float = field(default_factory=time.process_time)  # of this process
    busy_s: float = 0.0
    num_answered: int = 0
    num_failed: int = 0
    num_shed: int = 0
    num_cached: int = 0  # answered without a model call of their own
    cache: Callable[[], dict[str, Any]] | None = None  # its books; None: there is none

    @classmethod
    def of(cls, manifest: Manifest, num_replicas: int) -> "Receipt":
        cost, deployment = manifest.cost, manifest.deployment
        if cost is None:
            return cls(predicted_usd_per_million=None, usd_per_busy_s=0.0, usd_per_s=0.0)
        busy = next((line for line in cost.lines if line.unit in ("vCPU-second", "accelerator-second")), None)
        if busy is None:  # machine-hours
            planned = max(1, deployment.replicas)
            usd_per_s = cost.usd_per_month / SECONDS_PER_MONTH * num_replicas / planned
            return cls(predicted_usd_per_million=cost.usd_per_million, usd_per_busy_s=0.0, usd_per_s=usd_per_s)
        vcpus = deployment.threads * deployment.streams if busy.unit == "vCPU-second" else 1
        planned_busy_s = busy.quantity / vcpus * deployment.streams  # stream-seconds of a million requests
        return cls(
            predicted_usd_per_million=cost.usd_per_million,
            usd_per_busy_s=cost.usd_per_million / planned_busy_s if planned_busy_s else 0.0,
            usd_per_s=0.0,
        )

    @property
    def usd(self) -> float:
        looking_usd = self.cache()["looking_usd"] if self.cache is not None and self.usd_per_busy_s else 0.0
        return self.busy_s * self.usd_per_busy_s + looking_usd + (time.monotonic() - self.started_s) * self.usd_per_s

    @property
    def actual_usd_per_million(self) -> float | None:
        return self.usd / self.num_answered * MILLION if self.num_answered and self.predicted_usd_per_million else None

    def facts(self) -> dict[str, Any]:
        actual = self.actual_usd_per_million
        predicted = self.predicted_usd_per_million
        return {
            "predicted_usd_per_million": predicted,
            "actual_usd_per_million": actual,
            "actual_over_predicted": actual / predicted if actual and predicted else None,
            "usd": self.usd,
            "num_answered": self.num_answered,
            "num_from_cache": self.num_cached,
            "num_failed": self.num_failed,
            "num_shed": self.num_shed,
            "busy_s": self.busy_s,
            "elapsed_s": time.monotonic() - self.started_s,
            "cache": None if self.cache is None else self.cache(),
        }

    def line(self) -> str:
        actual, predicted = self.actual_usd_per_million, self.predicted_usd_per_million
        if predicted is None:
            return f"receipt: {self.num_answered:,} requests; the artifact holds no planned cost to compare with"
        if actual is None:
            return f"receipt: planned ${predicted:.3g} per million requests; none was answered yet"
        kept = f" ({self.num_cached:,} of them by the cache)" if self.cache is not None else ""
        return (
            f"receipt: ${actual:.3g} per million requests, planned ${predicted:.3g} ({actual / predicted:.2f} of the plan); "
            f"{self.num_answered:,} answered{kept}, {self.num_shed:,} shed, {self.num_failed:,} failed, ${self.usd:.3g} in all"
        )
