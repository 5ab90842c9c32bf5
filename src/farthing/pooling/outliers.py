"""Which replicas are kept out for a while because they fail where others do not, and how many second tries there may be.

Names and defaults are Envoy's (config.cluster.v3.OutlierDetection and CircuitBreakers). What counts as an error here: the model
of one replica failed on an item that another replica then answered. An item that fails everywhere says nothing about a replica,
and a process that dies is the supervisor's to start again (`farthing.pooling.pool`).
"""

from collections.abc import Collection
from dataclasses import dataclass, field

CONSECUTIVE_ERRORS = 5  # consecutive_5xx
BASE_EJECTION_S = 30.0  # base_ejection_time, times the number of ejections
MOST_EJECTION_S = 300.0  # max_ejection_time
MOST_EJECTED_SHARE = 0.1  # max_ejection_percent; one may always be ejected
INTERVAL_S = 10.0  # interval: the number of ejections falls by one for each that passes without another
RETRY_SHARE, LEAST_RETRIES = 0.2, 3  # retry_budget: budget_percent, min_retry_concurrency


def retry_budget(num_active: int) -> float:
    """How many retries may run at once beside `num_active` batches under way or waiting."""
    return max(LEAST_RETRIES, RETRY_SHARE * num_active)


@dataclass(slots=True)
class Record:
    num_errors: int = 0  # since the last success
    num_ejections: float = 0
    back_at_s: float = 0.0
    total: int = 0  # ejections since the start


@dataclass(slots=True)
class Outliers:
    """Times are `time.monotonic()`."""

    records: dict[str, Record] = field(default_factory=dict)

    @property
    def num_ejections(self) -> int:
        return sum(record.total for record in self.records.values())

    def is_ejected(self, name: str, now: float) -> bool:
        return name in self.records and now < self.records[name].back_at_s

    def succeeded(self, name: str) -> None:
        if name in self.records:
            self.records[name].num_errors = 0

    def failed(self, name: str, ready: Collection[str], now: float) -> bool:
        """Note an error; whether it led to an ejection. `ready`: the replicas that could take work, ejected or not."""
        record = self.records.setdefault(name, Record())
        record.num_errors += 1
        out = [other for other in ready if self.is_ejected(other, now)]
        room = max(1.0, MOST_EJECTED_SHARE * len(ready)) - len(out)
        others = [other for other in ready if other != name and other not in out]
        if record.num_errors < CONSECUTIVE_ERRORS or name in out or room < 1 or not others:
            return False
        rested = max(0.0, now - record.back_at_s) // INTERVAL_S
        record.num_ejections = max(0.0, record.num_ejections - rested) + 1
        record.back_at_s = now + min(MOST_EJECTION_S, BASE_EJECTION_S * record.num_ejections)
        record.num_errors, record.total = 0, record.total + 1
        return True
