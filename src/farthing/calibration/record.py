"""semantic.json: a calibrated threshold, for which model and embedder it holds, and what it was shown on."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from farthing.caching.semantic import Threshold
from farthing.calibration.threshold import Trial
from farthing.errors import DataError

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    model: str  # digests, by `artifact.identity`
    embedder: str
    threshold: Threshold
    metric: str  # by which two answers differ
    tolerance: float
    trials: tuple[Trial, ...]
    reason: str
    certificates: tuple[dict[str, Any], ...] = ()  # of cache and model together; empty: no labelled texts were given
    created_at: str
    farthing: str
    format: int = FORMAT


def write(record: Record, path: Path) -> None:
    """Raises DataError where it cannot be written."""
    try:
        path.write_text(json.dumps(asdict(record), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}): name another file") from error


def read(path: Path) -> Record:
    """Raises DataError for a file that `write` did not write."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise DataError(f"{path} has format {facts['format']}, this version reads {FORMAT}: calibrate again")
        facts["threshold"] = _threshold(facts["threshold"])
        facts["trials"] = tuple(Trial(**trial) for trial in facts["trials"])
        return Record(**facts | {"certificates": tuple(facts["certificates"])})
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is no file of `farthing calibrate` ({error!r}): calibrate again") from error


def _threshold(facts: dict[str, Any]) -> Threshold:
    found = Threshold(**facts)
    shares = (found.budget, found.alpha)
    if not (-1.0 <= found.cosine <= 1.0 and all(0.0 < share < 1.0 for share in shares) and found.max_entries >= 1):
        raise ValueError(f"{found} is no threshold")
    return found
