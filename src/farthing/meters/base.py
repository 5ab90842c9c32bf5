"""The contract of a meter: joules of this machine, measured or modelled."""

from abc import ABC, abstractmethod
from typing import ClassVar

from farthing.results import Device


class Meter(ABC):
    """A frozen dataclass.

    Laws (checked over every member by `farthing.testing.meters`):
    - energy is never negative and never decreases with time or work; a model is linear in both.
    - `measured` says whether a sensor stands behind it, and `describe` says the same in words.
    - `available` answers without raising, on any machine.
    """

    measured: ClassVar[bool]

    @classmethod
    @abstractmethod
    def available(cls, device: Device) -> bool:
        """Whether this meter can read this machine now."""

    @abstractmethod
    def energy_j(self, device: Device, *, busy_core_s: float, elapsed_s: float) -> float:
        """Joules since the meter was made (a sensor), or of so much work (a model)."""

    @abstractmethod
    def describe(self, device: Device) -> str:
        """One sentence for the report: which sensor, or which model and its source."""
