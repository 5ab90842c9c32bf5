"""CSV files: cells that are all numbers make a numeric column."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from farthing.data_sources.base import DataSource, PathOrPaths, checked, files, from_texts, named
from farthing.errors import DataError, JobError
from farthing.types import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class Csv(DataSource):
    path: PathOrPaths  # a file, or a list of files whose rows follow one another
    header: bool = True  # the first row of each file names the columns
    columns: tuple[str, ...] | None = None  # their names, where there is no header; default: column_1, column_2, ...
    delimiter: str = ","

    def __post_init__(self) -> None:
        if self.header and self.columns is not None:
            raise JobError("columns has no effect with a header. Remove it, or set header = false")
        if len(self.delimiter) != 1:
            raise JobError(f"delimiter = {self.delimiter!r}: expected one character")

    def read(self) -> dict[str, Column]:
        names: list[str] | None = None
        rows: list[list[str]] = []
        for path in files(self.path):
            found, more = self._rows(path)
            if names is not None and found != names:
                raise DataError(f"data: {path} has columns {', '.join(found)}, the first file {', '.join(names)}")
            names = found
            rows += more
        columns = zip(*rows, strict=True) if rows else ([] for _ in names or [])
        return checked({name: from_texts(cells) for name, cells in zip(names or [], columns, strict=True)}, named(self.path))

    def questions(self) -> Mapping[str, Any]:
        """Whether there is a header, where the first row does not look like one: a cell is a number, or two are alike."""
        path = files(self.path)[0]
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            first = [cell.strip() for cell in next(csv.reader(file, delimiter=self.delimiter), [])]
        looks_like_data = len(set(first)) < len(first) or any(_is_number(cell) for cell in first)
        return {"header": False} if looks_like_data else {}

    def _rows(self, path: Path) -> tuple[list[str], list[list[str]]]:
        """Names and rows of one file; blank lines are skipped."""
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file, delimiter=self.delimiter, skipinitialspace=True, strict=True)
                numbered = [(reader.line_num, row) for row in reader if row]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"data: {path} cannot be read as CSV in UTF-8: {error}") from error
        if not numbered:
            raise DataError(f"data: {path} is empty")
        names = [name.strip() for name in numbered.pop(0)[1]] if self.header else self._names(len(numbered[0][1]))
        for line, row in numbered:
            if len(row) != len(names):
                raise DataError(f"data: {path}, line {line}: {len(row)} cells, expected {len(names)} ({', '.join(names)})")
        if len(set(names)) < len(names):
            raise DataError(
                f"data: {path} names a column twice: {', '.join(names)}. If its first row is data already, set header = false"
            )
        return names, [row for _, row in numbered]

    def _names(self, width: int) -> list[str]:
        return list(self.columns) if self.columns is not None else [f"column_{i + 1}" for i in range(width)]


def _is_number(cell: str) -> bool:
    return isinstance(from_texts([cell]), np.ndarray)
