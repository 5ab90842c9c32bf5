"""JSON Lines: types as JSON has them, and the line that is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from farthing.data_sources.jsonl import Jsonl
from farthing.errors import DataError
from farthing.testing import data_sources as laws


def sample(directory: Path, table: dict) -> Jsonl:
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    path = directory / "table.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return Jsonl(path=path)


def test_types(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"i": 1, "v": [1, 2], "n": null, "r": [1]}\n\n{"i": 2, "v": [3, 4], "n": 0.5, "r": []}\n')
    columns = Jsonl(path=(path, path)).read()
    assert columns["i"].tolist() == [1, 2, 1, 2] and columns["i"].dtype.kind == "i"
    assert columns["v"].shape == (4, 2)
    assert np.isnan(columns["n"][0])
    assert columns["r"].dtype == object


def test_an_unusual_line_separator_stays_inside_its_text(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"t": "a\u2028b"}\n', encoding="utf-8")
    assert Jsonl(path=path).read()["t"] == ["a\u2028b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no columns"),
        ('{"a": 1}\n{"a"\n', "line 2 is not JSON"),
        ('{"a": 1}\n[1]\n', r"line 2 is not a JSON object: \[1\]"),
        ('{"a": "b"}\n{"a": "\\ud800"}\n', "column 'a', row 2 is no Unicode text: .*surrogates"),
        ('{"a": 1}\n{"b": 1}\n', "line 2 has other keys than the first line: a, b"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        Jsonl(path=path).read()


def test_missing_file(tmp_path: Path) -> None:
    laws.check_missing_is_named(Jsonl(path=tmp_path / "gone.jsonl"), "gone.jsonl")
