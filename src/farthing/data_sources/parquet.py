"""Parquet and Arrow IPC files, told apart by their first bytes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farthing.data_sources.base import DataSource, PathOrPaths, checked, files, from_arrow, named
from farthing.errors import DataError, MissingExtra
from farthing.types import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class Parquet(DataSource):
    path: PathOrPaths  # a file, or a list of files whose rows follow one another

    def read(self) -> dict[str, Column]:
        try:
            import pyarrow as pa
        except ImportError as error:
            raise MissingExtra("pyarrow", "arrow") from error
        try:
            table = pa.concat_tables([_table(path) for path in files(self.path)])
        except pa.ArrowInvalid as error:
            raise DataError(f"data: {named(self.path)}: the files have unlike columns: {error}") from error
        return checked(from_arrow(table), named(self.path))


def _table(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet

    try:
        with path.open("rb") as file:
            magic = file.read(6)
        if magic.startswith(b"PAR1"):
            return pa.parquet.read_table(path)
        with pa.memory_map(str(path)) as mapped:
            opened = pa.ipc.open_file(mapped) if magic == b"ARROW1" else pa.ipc.open_stream(mapped)
            return opened.read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"data: {path} is neither Parquet nor Arrow IPC: {error}") from error
