"""What runs around a model: the folder it lives in, tokenizing, collating and reading answers. NumPy and `tokenizers` only."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from farthing.errors import DataError, MissingExtra, ModelError
from farthing.types import Array, Feeds, Pipeline, TensorSpec

MANIFEST = "pipeline.json"


def write(pipeline: Pipeline) -> Pipeline:
    """Write the description beside the model; `read(pipeline.directory) == pipeline`."""
    facts = asdict(pipeline) | {"traits": sorted(pipeline.traits)}
    del facts["directory"]
    (pipeline.directory / MANIFEST).write_text(json.dumps(facts, indent=1))
    return pipeline


def read(directory: Path) -> Pipeline:
    """Raises ModelError if `directory` holds no pipeline."""
    try:
        facts = json.loads((directory / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{directory} holds no readable {MANIFEST}: {error}") from error
    facts["inputs"] = tuple(_spec(spec) for spec in facts["inputs"])
    facts["outputs"] = tuple(_spec(spec) for spec in facts["outputs"])
    facts["traits"] = frozenset(facts["traits"])
    return Pipeline(directory=directory, **facts)


def derive(source: Pipeline, directory: Path, *, form: str, file: str, **changes: Any) -> Pipeline:
    """A pipeline in a new folder with another model but the pre-processing of `source`; written to disk."""
    directory.mkdir(parents=True, exist_ok=True)
    if source.tokenizer is not None and directory != source.directory:
        shutil.copy(source.directory / source.tokenizer, directory / source.tokenizer)
    return write(replace(source, directory=directory, form=form, file=file, **changes))


def encode(pipeline: Pipeline, requests: Sequence[tuple[Any, ...]]) -> list[tuple[Array, ...]]:
    """One tuple of unpadded arrays, in the order of `pipeline.inputs`, for each request.

    Texts become (input_ids, attention_mask, ...) of their own length, cut at max_length; arrays are cast to the input's dtype.
    """
    if pipeline.tokenizer is None:
        return [_cast(pipeline, request) for request in requests]
    tokenizer = _tokenizer(pipeline.directory / pipeline.tokenizer, pipeline.max_length)
    encodings = tokenizer.encode_batch_fast([request[0] for request in requests])
    features = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    fields = [(features[spec.name], spec.dtype) for spec in pipeline.inputs]
    return [tuple(np.asarray(getattr(e, name), dtype=dtype) for name, dtype in fields) for e in encodings]


def length(encoded: tuple[Array, ...], pipeline: Pipeline) -> int:
    """Tokens of one encoded request; 1 where lengths do not vary."""
    return len(encoded[0]) if varies(pipeline) else 1


def varies(pipeline: Pipeline) -> bool:
    return any("length" in spec.shape for spec in pipeline.inputs)


def collate(pipeline: Pipeline, batch: Sequence[tuple[Array, ...]], *, pad_to: int | None = None) -> Feeds:
    """Stack encoded requests into feeds, padding the "length" axis to the longest of the batch (or to `pad_to`)."""
    feeds: Feeds = {}
    for position, spec in enumerate(pipeline.inputs):
        values = [encoded[position] for encoded in batch]
        if "length" not in spec.shape:
            feeds[spec.name] = np.stack(values)
            continue
        longest = pad_to or max(len(value) for value in values)
        fill = pipeline.pad_id if spec.name == "input_ids" else 0
        padded = np.full((len(values), longest, *values[0].shape[1:]), fill, dtype=spec.dtype)
        for row, value in enumerate(values):
            padded[row, : len(value)] = value
        feeds[spec.name] = padded
    return feeds


def feeds_of(pipeline: Pipeline, requests: Sequence[tuple[Any, ...]], batch_size: int) -> list[Feeds]:
    """Encode `requests` and collate them in order, `batch_size` at a time."""
    encoded = encode(pipeline, requests)
    return [collate(pipeline, encoded[i : i + batch_size]) for i in range(0, len(encoded), batch_size)]


def synthetic(pipeline: Pipeline, batch_size: int, length: int, seed: int = 0) -> Feeds:
    """Feeds of an exact shape for timing: random tokens or values, masks of ones."""
    generator = np.random.default_rng(seed)
    feeds: Feeds = {}
    for spec in pipeline.inputs:
        sizes = {"batch": batch_size, "length": length}
        shape = tuple(sizes.get(n, 1) if isinstance(n, str) else n for n in spec.shape)
        if spec.name == "attention_mask":
            feeds[spec.name] = np.ones(shape, dtype=spec.dtype)
        elif spec.name == "token_type_ids":
            feeds[spec.name] = np.zeros(shape, dtype=spec.dtype)
        elif np.issubdtype(np.dtype(spec.dtype), np.integer):
            feeds[spec.name] = generator.integers(0, _num_tokens(pipeline) if spec.name == "input_ids" else 2, shape).astype(
                spec.dtype
            )
        else:
            feeds[spec.name] = generator.standard_normal(shape).astype(spec.dtype)
    return feeds


def _spec(facts: dict[str, Any]) -> TensorSpec:
    return TensorSpec(name=facts["name"], dtype=facts["dtype"], shape=tuple(facts["shape"]))


def _cast(pipeline: Pipeline, request: tuple[Any, ...]) -> tuple[Array, ...]:
    if len(request) != len(pipeline.inputs):
        names = ", ".join(spec.name for spec in pipeline.inputs)
        raise DataError(f"a request has {len(request)} inputs, the model takes {len(pipeline.inputs)}: {names}")
    return tuple(np.asarray(value, dtype=spec.dtype) for value, spec in zip(request, pipeline.inputs, strict=True))


def _num_tokens(pipeline: Pipeline) -> int:
    """Of the vocabulary; 2 where the model takes ids but brought no tokenizer."""
    if pipeline.tokenizer is None:
        return 2
    return int(_tokenizer(pipeline.directory / pipeline.tokenizer, pipeline.max_length).get_vocab_size())


@lru_cache(maxsize=8)
def _tokenizer(path: Path, max_length: int | None) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtra("tokenizers", "onnx") from error
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()  # the file's own padding would undo length bucketing
    tokenizer.no_truncation()
    if max_length is not None:
        tokenizer.enable_truncation(max_length)
    return tokenizer
