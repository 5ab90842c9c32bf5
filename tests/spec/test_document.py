"""docs/job.md tells every key of every table, its default where that is a value, and an example that is right."""

import ast
import re
import tomllib
from dataclasses import MISSING, fields
from inspect import signature
from pathlib import Path

import pytest

from farthing.spec import read_live
from farthing.spec.check import check
from farthing.spec.schema import TABLES, DataTable, SearchTable, TopTable
from farthing.spec.splits import SHARES
from farthing.types import Budget, Floor, Limits, Prices, Slo, Traffic

TEXT = (Path(__file__).parents[2] / "docs" / "job.md").read_text()
DECLARED = {
    "Above the tables": TopTable,
    "[data]": DataTable,
    "[floor]": Floor,
    "[traffic]": Traffic,
    "[slo]": Slo,
    "[limits]": Limits,
    "[prices]": Prices,
    "[budget]": Budget,
    "[search]": SearchTable,
}


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def told(title: str) -> dict[str, str]:
    """key -> default, as the table of a section says."""
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section(title), re.MULTILINE))


@pytest.mark.parametrize("title", DECLARED)
def test_every_key_and_no_other(title: str) -> None:
    assert set(told(title)) == {field.name for field in fields(DECLARED[title])}


@pytest.mark.parametrize("title", DECLARED)
def test_defaults_that_are_values(title: str) -> None:
    defaults = told(title)
    for field in fields(DECLARED[title]):
        if (
            field.default is not MISSING
            and isinstance(field.default, bool | int | float)
            and field.name != "grams_co2e_per_kwh"
        ):
            assert defaults[field.name] == (
                str(field.default).lower() if isinstance(field.default, bool) else f"{field.default:g}"
            )


def test_default_splits() -> None:
    assert told("[data]")["splits"] == ", ".join(f"{name} {share:g}" for name, share in SHARES.items())


def test_every_table_has_its_section() -> None:
    assert {title.strip("[]") for title in re.findall(r"^## (\[.*\])$", TEXT, re.MULTILINE)} == set(TABLES)


def test_the_example_is_right(tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text('{"text": "a"}\n')
    (example,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    check(tomllib.loads(example), tmp_path, "job.toml")


def test_the_call_from_python_names_arguments_that_there_are() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (call,) = [node for node in ast.walk(ast.parse(example)) if isinstance(node, ast.Call)]
    given = {argument.arg for argument in call.keywords}
    assert given <= {*signature(read_live).parameters, "out"}
    assert {"model", "data", "floor", "traffic", "prices"} <= given
