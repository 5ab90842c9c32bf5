"""The two files of a report: written whole, or an error that names the folder."""

from pathlib import Path

import pytest

from farthing.errors import StoreError
from farthing.reporting import report
from farthing.reporting.record import to_json
from farthing.testing import decisions

PAGE = "<!DOCTYPE html>\n<title>80 % less, – µ</title>\n"


def test_both_files_are_written_whole(tmp_path: Path) -> None:
    page = report(decisions.saves(), PAGE, tmp_path / "run")
    assert sorted(file.name for file in page.parent.iterdir()) == ["decision.json", "report.html"]
    assert page.read_bytes() == PAGE.encode()
    assert (page.parent / "decision.json").read_bytes() == to_json(decisions.saves()).encode()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file.*cannot be written"):
        report(decisions.saves(), PAGE, tmp_path / "file")
