"""Every data source keeps the laws of `DataSource`; `test_<member>.sample` writes TABLE in its format."""

import importlib
from pathlib import Path

import pytest

from farthing import plugins
from farthing.data_sources.base import DataSource
from farthing.testing import data_sources as laws

TABLE = {"text": ["one", "two", "two, again"], "number": [1.5, float("nan"), -2.0]}
MEMBERS = plugins.names(DataSource)


def sampled(name: str, directory: Path) -> DataSource:
    return importlib.import_module(f".test_{name}", __package__).sample(directory, TABLE)


@pytest.mark.parametrize("name", MEMBERS)
def test_laws(name: str, tmp_path: Path) -> None:
    source = sampled(name, tmp_path)
    laws.check_columns(source)
    laws.check_reading_twice_gives_the_same(source)
    laws.check_holds(source, {"text": TABLE["text"], "number": laws.np.array(TABLE["number"])})
    assert plugins.make(DataSource, plugins.ref(source)) == source
