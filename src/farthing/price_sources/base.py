"""The contract of a price source: USD per hour of machines, each with where and when it was seen."""

import math
from abc import ABC, abstractmethod

from farthing.errors import PriceError
from farthing.results import UnitPrice


class PriceSource(ABC):
    """A frozen dataclass; its fields are the source's keys in the job's [prices] table.

    Laws (checked over every member by `farthing.testing.price_sources`):
    - every price is > 0 and finite, has a source and an observed_at date; a missing price is left out, never 0.0.
    - a SKU stands in the table once; reading twice gives the same.
    """

    @abstractmethod
    def prices(self, *, spot: bool) -> tuple[UnitPrice, ...]:
        """All machines of the table. Raises PriceError naming the file and the row."""


def number(cell: str, *, where: str) -> float | None:
    """One cell of a price table: None where it is missing (empty or 0.0). Raises PriceError unless finite and >= 0."""
    try:
        value = float(cell or 0.0)
    except ValueError as error:
        raise PriceError(f"{where}: {cell!r} is not a number") from error
    if not math.isfinite(value) or value < 0.0:
        raise PriceError(f"{where}: {cell!r} must be finite and positive; leave the cell empty where nothing is known")
    return value or None
