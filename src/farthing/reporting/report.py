"""`report.html` and `decision.json`: everything about a Decision in two files that need nothing else."""

import os
from pathlib import Path

from farthing.errors import StoreError
from farthing.reporting.record import to_json
from farthing.results import Decision


def report(decision: Decision, page: str, out: Path) -> Path:
    """Write `decision.json` and `report.html`; the path of the latter. Raises StoreError where they cannot be written.

    `page` is the text that draw() gave.
    """
    written = out / "report.html"
    for path, text in ((out / "decision.json", to_json(decision)), (written, page)):
        unfinished = path.with_suffix(".unfinished")
        try:
            out.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(text, encoding="utf-8", newline="\n")
            os.replace(unfinished, path)
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error}. Free the folder or choose another.") from error
    return written
