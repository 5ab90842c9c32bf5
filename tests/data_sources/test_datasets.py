"""Hugging Face datasets on disk, whole or one part of several."""

from pathlib import Path

import pytest

from farthing.data_sources.datasets import HuggingFaceDatasets
from farthing.errors import DataError
from farthing.testing import data_sources as laws

datasets = pytest.importorskip("datasets")


def sample(directory: Path, table: dict) -> HuggingFaceDatasets:
    datasets.Dataset.from_dict(table).save_to_disk(directory / "table")
    return HuggingFaceDatasets(path=directory / "table")


def test_parts(tmp_path: Path) -> None:
    part = datasets.Dataset.from_dict({"x": [1, 2]})
    datasets.DatasetDict({"train": part, "test": part.select([1])}).save_to_disk(tmp_path / "parts")
    assert HuggingFaceDatasets(path=tmp_path / "parts", part="test").read()["x"].tolist() == [2]
    with pytest.raises(DataError, match="has the parts train, test: name one of them as part"):
        HuggingFaceDatasets(path=tmp_path / "parts").read()
    assert HuggingFaceDatasets(path=tmp_path / "parts").questions() == {"part": "test"}
    assert HuggingFaceDatasets(path=tmp_path / "parts" / "test").questions() == {}


def test_missing_folder(tmp_path: Path) -> None:
    laws.check_missing_is_named(HuggingFaceDatasets(path=tmp_path / "gone"), "gone")


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no dataset that save_to_disk wrote"):
        HuggingFaceDatasets(path=tmp_path).read()
