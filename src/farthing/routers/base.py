"""The contract of a router: which replica gets the next batch."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a router may know of one replica that has a free slot."""

    name: str
    in_flight: int
    slots: int
    seconds_left: float = 0.0  # predicted, of what it is at
    weight: float = 1.0
    usd_per_batch: float = 0.0  # predicted, of the batch to be routed


class Router(ABC):
    """A dataclass; its fields are its knobs.

    Laws (checked over every member by `farthing.testing.routers`):
    - the answer is an index into `loads`, which is never empty.
    - among equal replicas no one starves: of 100 batches for each, everyone gets some.
    """

    @abstractmethod
    def choose(self, loads: Sequence[Load]) -> int: ...
