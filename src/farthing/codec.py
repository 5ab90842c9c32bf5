"""Nouns <-> JSON, exactly: what is read back equals what was written; and digests that name things by their content."""

import base64
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from farthing import results, types
from farthing.errors import StoreError
from farthing.types import Array

FORMAT = 1  # of what this file writes; raise it when an older reader would misread it
NOUNS: dict[str, Any] = {
    name: noun
    for module in (types, results)
    for name, noun in vars(module).items()
    if isinstance(noun, type) and dataclasses.is_dataclass(noun)
}

Places = Mapping[str, Path]  # name -> a folder that may have moved between writing and reading
NOWHERE: Places = MappingProxyType({})


def to_json(obj: Any, places: Places = NOWHERE) -> Any:
    """A JSON value, without NaN or Infinity, from which `from_json` gives `obj` back: equal, and of the same types.

    A JSON array is a tuple; an object is a dict with str keys, unless it holds a key that starts with "$":
    {"$": "Floor", ...} is that noun of `farthing.types`, {"$array": ...} and its like are the types of `_CODES`.
    NumPy scalars become Python's. A path below one of `places` is written relative to it, so that the folder may be renamed.
    Raises TypeError for a type that it does not know.
    """
    if isinstance(obj, np.bool_ | np.integer | np.float64 | np.float32 | np.float16 | np.str_):
        return to_json(obj.item(), places)
    if obj is None or type(obj) in (bool, int, str) or (type(obj) is float and math.isfinite(obj)):
        return obj
    if type(obj) is tuple:
        return [to_json(item, places) for item in obj]
    if isinstance(obj, Mapping) and all(type(key) is str and not key.startswith("$") for key in obj):
        return {key: to_json(value, places) for key, value in obj.items()}
    noun = NOUNS.get(type(obj).__name__)
    if noun is type(obj):
        return {"$": noun.__name__} | {f.name: to_json(getattr(obj, f.name), places) for f in dataclasses.fields(noun)}
    for tag, (kind, write, _) in _CODES.items():
        if isinstance(obj, kind):
            return {tag: write(obj, places)}
    raise TypeError(f"{type(obj).__module__}.{type(obj).__qualname__} cannot be recorded: {obj!r:.80}")


def from_json(value: Any, places: Places = NOWHERE) -> Any:
    """The inverse of `to_json`. Raises StoreError for what this version of farthing cannot read."""
    if isinstance(value, list):
        return tuple(from_json(item, places) for item in value)
    if not isinstance(value, dict):
        return value
    tag = next((key for key in value if key.startswith("$")), None)
    if tag is None:
        return {key: from_json(item, places) for key, item in value.items()}
    try:
        if tag == "$":
            fields = {name: from_json(item, places) for name, item in value.items() if name != "$"}
            return NOUNS[value["$"]](**fields)
        return _CODES[tag][2](value[tag], places)
    except (KeyError, TypeError, ValueError) as error:
        what = f"a {value['$']!r}" if tag == "$" else f"a value tagged {tag!r}"
        raise StoreError(
            f"{what} cannot be read by farthing {version('farthing')} (format {FORMAT}): {error}. "
            "Read it with the version that wrote it, or start again with another --out."
        ) from error


def canonical(obj: Any) -> bytes:
    """The one spelling of `obj`, in every process and on every machine: ASCII JSON, keys sorted, no spaces."""
    return _spelled(to_json(obj)).encode("ascii")


def digest(obj: Any) -> str:
    """SHA-256 (hex) of the canonical spelling."""
    return hashlib.sha256(canonical(obj)).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 (hex) of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_files(directory: Path) -> dict[str, str]:
    """POSIX path below `directory` -> SHA-256, of every file in it, sorted; empty folders do not count."""
    paths = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): digest_file(path) for path in sorted(paths)}


def digest_tree(directory: Path) -> str:
    """One digest for the names and contents of all files below `directory`."""
    return digest(digest_files(directory))


def _spelled(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _write_path(path: Path, places: Places) -> Any:
    for name, folder in places.items():
        if path.is_relative_to(folder):
            return {"in": name, "path": path.relative_to(folder).as_posix()}
    return str(path)


def _read_path(data: Any, places: Places) -> Path:
    return Path(data) if isinstance(data, str) else places[data["in"]] / data["path"]


def _write_array(array: Array, places: Places) -> dict[str, Any]:
    facts: dict[str, Any] = {"dtype": array.dtype.str, "shape": list(array.shape)}
    if array.dtype.kind == "O":
        return facts | {"items": [to_json(item, places) for item in array.ravel()]}
    if array.dtype.kind == "V" or isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"an array of {array.dtype} ({type(array).__name__}) cannot be recorded: cast it first")
    return facts | {"base64": base64.b64encode(array.tobytes()).decode("ascii")}


def _read_array(data: dict[str, Any], places: Places) -> Array:
    if "items" in data:
        flat = np.empty(len(data["items"]), dtype=object)
        flat[:] = [from_json(item, places) for item in data["items"]]
    else:
        flat = np.frombuffer(bytearray(base64.b64decode(data["base64"], validate=True)), dtype=data["dtype"])
    return flat.reshape(data["shape"])


def _write_set(items: Any, places: Places) -> list[Any]:
    return sorted((to_json(item, places) for item in items), key=_spelled)


def _write_dict(mapping: Any, places: Places) -> list[Any]:
    return sorted(([to_json(key, places), to_json(value, places)] for key, value in mapping.items()), key=_spelled)


def _items(data: list[Any], places: Places) -> list[Any]:
    return [from_json(item, places) for item in data]


# tag -> (type, how it is written below the tag, how that is read)
_CODES: dict[str, tuple[type, Callable[[Any, Places], Any], Callable[[Any, Places], Any]]] = {
    "$float": (float, lambda obj, _: repr(obj), lambda data, _: float(data)),
    "$list": (list, lambda obj, places: [to_json(item, places) for item in obj], _items),
    "$dict": (Mapping, _write_dict, lambda data, places: dict(_items(data, places))),
    "$frozenset": (frozenset, _write_set, lambda data, places: frozenset(_items(data, places))),
    "$set": (set, _write_set, lambda data, places: set(_items(data, places))),
    "$bytes": (bytes, lambda obj, _: base64.b64encode(obj).decode("ascii"), lambda data, _: base64.b64decode(data)),
    "$path": (Path, _write_path, _read_path),
    "$array": (np.ndarray, _write_array, _read_array),
}
