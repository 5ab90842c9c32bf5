"""The contract of a data source: a table of columns."""

from abc import ABC, abstractmethod

from farthing.types import Column


class DataSource(ABC):
    """A frozen dataclass; its fields are the source's keys in the job's [data] table.

    Laws (checked over every member by `farthing.testing.data_sources`):
    - all columns have the same number of rows, in the file's order; reading twice gives the same.
    - text columns are lists of str; numeric ones NumPy arrays whose first axis counts rows.
    """

    @abstractmethod
    def read(self) -> dict[str, Column]:
        """Every column by name. Raises DataError naming the file and what is wrong with it, and MissingExtra."""
