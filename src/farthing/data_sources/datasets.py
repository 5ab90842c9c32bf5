"""A Hugging Face dataset that `save_to_disk` wrote."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farthing.data_sources.base import DataSource, checked, from_arrow
from farthing.errors import DataError, MissingExtra
from farthing.types import Column


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceDatasets(DataSource):
    path: Path  # the folder
    part: str | None = None  # which of a DatasetDict: train, validation, test, ...

    def read(self) -> dict[str, Column]:
        try:
            import datasets
        except ImportError as error:
            raise MissingExtra("datasets", "datasets") from error
        if not self.path.exists():
            raise DataError(f"data: {self.path} does not exist")
        try:
            loaded = datasets.load_from_disk(str(self.path))
        except (OSError, ValueError) as error:
            raise DataError(f"data: {self.path} is no dataset that save_to_disk wrote: {error}") from error
        return checked(from_arrow(self._part(loaded).with_format("arrow")[:]), str(self.path))

    def questions(self) -> Mapping[str, Any]:
        """Which part, where there are several."""
        parts = sorted(folder.name for folder in self.path.iterdir() if (folder / "dataset_info.json").is_file())
        return {"part": parts[0]} if parts and self.part is None else {}

    def _part(self, loaded: Any) -> Any:
        parts = loaded if isinstance(loaded, dict) else {}
        if self.part is None and not parts:
            return loaded
        if self.part not in parts:
            raise DataError(f"data: {self.path} has the parts {', '.join(parts) or '(none)'}: name one of them as part")
        return parts[self.part]
