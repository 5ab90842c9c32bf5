"""A function of yours that returns a mapping of columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from farthing import plugins
from farthing.data_sources.base import DataSource, checked, from_values
from farthing.errors import DataError
from farthing.types import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class Python(DataSource):
    factory: str  # "package.module:function"
    args: Mapping[str, Any] = field(default_factory=dict)  # keyword arguments of the function
    root: Path | None = None

    def read(self) -> dict[str, Column]:
        try:
            columns = plugins.function(self.factory, self.root)(**self.args)
        except OSError as error:
            raise DataError(f"data: {self.factory} could not read its files: {error}") from error
        if not isinstance(columns, Mapping):
            raise DataError(f"data: {self.factory} returned {type(columns).__name__}, expected a mapping of columns")
        return checked({str(name): _column(values) for name, values in columns.items()}, self.factory)


def _column(values: Any) -> Column:
    return values if isinstance(values, np.ndarray) and values.dtype.kind in "biuf" else from_values(values)
