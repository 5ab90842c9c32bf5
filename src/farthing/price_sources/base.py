"""The contract of a price source: USD per hour of machines, each with where and when it was seen."""

from abc import ABC, abstractmethod

from farthing.types import UnitPrice


class PriceSource(ABC):
    """A frozen dataclass; its fields are the source's keys in the job's [prices] table.

    Law: every price is > 0 and finite, has a source and an observed_at date; a missing price is left out, never 0.0.
    """

    @abstractmethod
    def prices(self, *, spot: bool) -> tuple[UnitPrice, ...]:
        """All machines of the table. Raises PriceError naming the file and the row."""
