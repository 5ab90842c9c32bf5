"""From an artifact, an embedder and held-out texts to a threshold, and to a certificate of cache and model together."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from farthing import artifact as artifacts
from farthing.artifact import Artifact
from farthing.calibration.budget import Verify, Whole, certify_cached, differs_by
from farthing.calibration.record import Record
from farthing.calibration.replay import stream
from farthing.calibration.threshold import Calibration, Terms, calibrate
from farthing.errors import DataError
from farthing.metrics import metric_of
from farthing.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`original`: what the model was made from, by which the floor counts; without it, the model itself."""

    model: Artifact
    embedder: Artifact
    metric: str | None = None  # default: that of the model's first floor
    tolerance: float = 0.0
    verify: Path | None = None
    original: Artifact | None = None


def calibrated(asked: Asked, texts_file: Path, terms: Terms) -> tuple[Calibration, Record | None]:
    """The record is None where no threshold could be shown to keep the budget. Raises DataError, JobError."""
    floors = asked.model.manifest.floors
    metric = asked.metric or (floors[0].metric if floors else "argmax_agreement")
    differs = differs_by(metric, asked.tolerance)
    texts, _ = _rows(texts_file, asked.model)
    answers, vectors = _answers(asked.model, texts), _vectors(asked.embedder, texts)
    found = calibrate(texts, vectors, answers, differs=differs, terms=terms)
    if found.threshold is None:
        return found, None
    past = stream(texts, vectors, answers)
    whole = None if asked.verify is None else _whole(asked, past.part(0, max(terms.max_entries, len(past) // 2)), found, texts)
    record = Record(
        model=artifacts.identity(asked.model),
        embedder=artifacts.identity(asked.embedder),
        threshold=found.threshold,
        metric=metric,
        tolerance=asked.tolerance,
        trials=found.trials,
        reason=found.reason,
        certificates=() if whole is None else tuple(_told(whole, asked, i) for i in range(len(whole.certificates))),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        farthing=version("farthing"),
    )
    return found, record


def _whole(asked: Asked, past: Any, found: Calibration, texts: Sequence[str]) -> Whole:
    assert asked.verify is not None and found.threshold is not None
    floors = asked.model.manifest.floors
    if not floors:
        raise DataError("the artifact holds no floor to certify: leave --verify out")
    rows, labels = _rows(asked.verify, asked.model)
    if both := set(rows) & set(texts):
        raise DataError(f"{asked.verify}: {len(both)} texts were calibrated on, {min(both)!r} among them: take them out")
    if metric_of(floors[0].metric).needs_labels and None in labels:
        raise DataError(f'{asked.verify}: {floors[0].metric} needs labels: {{"text": ..., "label": CLASS NUMBER}} on each line')
    own = _answers(asked.model, rows)
    requests = stream(rows, _vectors(asked.embedder, rows), own)
    if len(requests) != len(rows):
        raise DataError(
            f"{asked.verify}: {len(rows) - len(requests)} texts stand twice: each once, else they are not independent"
        )
    original = np.stack(own if asked.original is None else _answers(asked.original, rows))
    verify = Verify(requests=requests, original=original, labels=None if None in labels else np.array(labels))
    return certify_cached(verify, past, found.threshold, floors[0])


def _told(whole: Whole, asked: Asked, number: int) -> dict[str, Any]:
    against = "the model alone" if asked.original is None else "the original"
    return asdict(whole.certificates[number]) | {"against": against, "num_hits": whole.num_hits, "num_texts": whole.num_items}


def _rows(path: Path, model: Artifact) -> tuple[list[str], list[int | None]]:
    """Texts in their order, and labels where there are any."""
    if model.pipeline.tokenizer is None:
        raise DataError(f"{model.directory} takes no texts: a semantic cache compares texts")
    texts: list[str] = []
    labels: list[int | None] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON: {error}") from error
        text, label = (value.get("text"), value.get("label")) if isinstance(value, dict) else (value, None)
        if not isinstance(text, str) or not (label is None or type(label) is int):
            raise DataError(
                f'{path}, line {number}: expected "..." or {{"text": "...", "label": CLASS NUMBER}}, not {line:.60}'
            )
        texts.append(text)
        labels.append(label)
    return texts, labels


def _answers(model: Artifact, texts: Sequence[str]) -> list[Array]:
    return list(artifacts.answers(model, ((text,) for text in texts)))


def _vectors(embedder: Artifact, texts: Sequence[str]) -> Array:
    if embedder.pipeline.tokenizer is None:
        raise DataError(f"{embedder.directory} takes no texts: it cannot be the embedder")
    vectors = np.stack(_answers(embedder, texts))
    if vectors.ndim != 2:
        raise DataError(f"{embedder.directory} gives {vectors.shape[1:]} for a text: an embedder gives one vector")
    return vectors
