"""Columns from a function, beside the job file or installed."""

from pathlib import Path

import pytest

from farthing.data_sources.python import Python
from farthing.errors import DataError, JobError


def sample(directory: Path, table: dict) -> Python:
    (directory / "sample_table.py").write_text("def columns(**table):\n    return table\n")
    return Python(factory="sample_table:columns", args=table, root=directory)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("json", "not of the form 'package.module:function'"),
        ("jsom:loads", "no module 'jsom'"),
        ("json:lodas", "json has no function 'lodas'. Did you mean 'loads'?"),
    ],
)
def test_names_that_lead_nowhere(factory: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        Python(factory=factory).read()


def test_what_is_not_a_table() -> None:
    with pytest.raises(DataError, match="builtins:list returned list, expected a mapping of columns"):
        Python(factory="builtins:list").read()
    with pytest.raises(DataError, match="'b' has 2 rows but 'a' has 1"):
        Python(factory="builtins:dict", args={"a": [1], "b": [1, 2]}).read()
    with pytest.raises(DataError, match=r"builtins:open could not read its files: .*gone\.csv"):
        Python(factory="builtins:open", args={"file": "gone.csv"}).read()


def test_an_error_inside_the_module_is_not_ours_to_hide(tmp_path: Path) -> None:
    (tmp_path / "imports_the_unknown.py").write_text("import a_module_that_is_not_there\n")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        Python(factory="imports_the_unknown:f", root=tmp_path).read()
