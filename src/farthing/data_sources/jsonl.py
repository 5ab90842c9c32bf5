"""JSON Lines files: one object a line, its keys the columns."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farthing.data_sources.base import DataSource, PathOrPaths, checked, files, from_values, named
from farthing.errors import DataError
from farthing.types import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class Jsonl(DataSource):
    path: PathOrPaths  # a file, or a list of files whose rows follow one another

    def read(self) -> dict[str, Column]:
        rows = [row for path in files(self.path) for row in _rows(path)]
        names = list(rows[0][1]) if rows else []
        for where, row in rows:
            if row.keys() != set(names):
                odd = ", ".join(sorted(row.keys() ^ set(names)))
                raise DataError(f"data: {where} has other keys than the first line: {odd}")
        return checked({name: from_values(row[name] for _, row in rows) for name in names}, named(self.path))


def _rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(where it stands, object) of each line that is not blank."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"data: {path} cannot be read as UTF-8 text: {error}") from error
    return [(where := f"{path}, line {i + 1}", _object(where, line)) for i, line in enumerate(lines) if line.strip()]


def _object(where: str, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(f"data: {where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"data: {where} is not a JSON object: {line[:60]}")
    return value
