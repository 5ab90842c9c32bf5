"""Every model source keeps the laws of `ModelSource`; `test_<member>.sample` writes a model for it."""

import importlib
import shutil
from pathlib import Path

import pytest

from farthing import plugins
from farthing.model_sources.base import ModelSource
from farthing.testing.model_sources import check_snapshot

MEMBERS = plugins.names(ModelSource)


@pytest.mark.parametrize("name", MEMBERS)
def test_laws(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    source = importlib.import_module(f".test_{name}", __package__).sample(folder)
    check_snapshot(source, tmp_path / "snapshots", vanish=lambda: shutil.rmtree(folder))
    assert plugins.make(ModelSource, plugins.ref(source)) == source
