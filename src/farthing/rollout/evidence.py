"""What was seen of two versions side by side; plain counts, so that it can be written down and gone on with."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from farthing.rollout.mean import Mean

MOST_RELATIVE = 4.0  # a batch that took longer than so many times the expected counts as that
ALPHA_OF_COST = 0.05 / 16  # of each side of each arm: half of an eighth of the alpha that a false alarm may have


@dataclass(slots=True, kw_only=True)
class Arm:
    requests: int = 0
    failed: int = 0
    slow: int = 0  # answered later than `Evidence.slow_s`, or not before the deadline
    cost: Mean = field(default_factory=lambda: Mean(alpha=ALPHA_OF_COST))  # of batches, relative to the stable one's model / 4

    def answered(self, seconds: float, slow_s: float, *, failed: bool = False) -> None:
        self.requests += 1
        self.failed += failed
        self.slow += not failed and seconds > slow_s

    def batch(self, seconds: float, expected_s: float) -> None:
        """`expected_s`: what the stable version would take for a batch of this size and length."""
        self.cost.add(seconds / expected_s / MOST_RELATIVE)


@dataclass(slots=True, kw_only=True)
class Evidence:
    slow_s: float  # fixed before anything is counted
    stable: Arm = field(default_factory=Arm)
    candidate: Arm = field(default_factory=Arm)
    compared: int = 0
    differing: int = 0  # of those compared: the candidate's answer is another than the stable one's

    def compare(self, *, differs: bool) -> None:
        self.compared += 1
        self.differing += differs

    def facts(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Evidence":
        """The inverse of `facts`. Raises KeyError and TypeError for what they are not."""
        arms = {name: Arm(**{**facts[name], "cost": Mean(**facts[name]["cost"])}) for name in ("stable", "candidate")}
        return cls(**{**facts, **arms})
