"""The jobs in examples/ are right, and their factories give what the jobs say."""

from pathlib import Path

import pytest

from farthing.spec import read

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path) -> None:
    asked = read(path)
    assert asked.name == path.stem
    assert len(asked.splits.verify) > len(asked.splits.search) > len(asked.splits.calibrate)
    assert len(asked.splits.verify) >= 500  # the drop that a floor allows must be certifiable
