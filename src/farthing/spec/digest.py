"""The digest that names a job: the same question, the same 64 hex digits, wherever its files lie."""

import hashlib
import importlib.util
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from farthing.types import Job, MemberRef

NOT_ASKED = ("name", "digest", "notes", "budget")  # how long to look for an answer is no part of the question


def digest(job: Job) -> str:
    """sha256 of the canonical JSON of all that is asked; a path counts as what it holds, an array as its bytes.

    Of a "package.module:function" beside the job file the module's own text counts, what it imports does not.
    """
    asked = {f.name: _canonical(getattr(job, f.name)) for f in fields(job) if f.name not in NOT_ASKED}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def contents(path: Path) -> str:
    """sha256 of a file, or of the names and files of a folder."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    inside = {str(p.relative_to(path)): contents(p) for p in sorted(path.rglob("*")) if p.is_file()}
    return hashlib.sha256(json.dumps(inside).encode()).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, MemberRef):
        return [value.name, {key: _canonical(_behind(key, dict(value.knobs))) for key, _ in value.knobs if key != "root"}]
    if is_dataclass(value):
        return {f.name: _canonical(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, hashlib.sha256(_bytes(value)).hexdigest()]
    if isinstance(value, Mapping):
        return {str(key): _canonical(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(one) for one in value]
    if isinstance(value, Path):
        return contents(value)
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _behind(key: str, knobs: Mapping[str, Any]) -> Any:
    """What a knob leads to, where it names a folder or a module; else its value."""
    value = knobs[key]
    if key == "path" and isinstance(value, str):
        folder = _package(knobs.get("package")) / value
        return folder if folder.exists() else value
    if key == "factory" and knobs.get("root") is not None:
        module = Path(knobs["root"], *value.partition(":")[0].split("."))
        return [value, *(file for file in (module.with_suffix(".py"), module / "__init__.py") if file.is_file())]
    return value


def _package(name: str | None) -> Path:
    """The folder of an installed package; where there is none, paths are taken as they stand."""
    spec = importlib.util.find_spec(name) if name is not None else None
    return Path(spec.submodule_search_locations[0]) if spec is not None and spec.submodule_search_locations else Path()


def _bytes(array: np.ndarray[Any, Any]) -> bytes:
    return json.dumps(array.tolist(), default=str).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes()
