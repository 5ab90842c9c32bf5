"""The tables of a job file, and how a mapping is checked against one: every mistake is collected, and all are told at once."""

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from farthing.errors import JobError
from farthing.types import Budget, DeviceKind, Floor, Limits, MemberRef, Prices, Slo, Traffic

Table = TypeVar("Table")

TABLES = ("model", "data", "floor", "traffic", "slo", "limits", "prices", "budget", "search")
OPTIONAL = frozenset({"slo", "limits", "budget", "search"})
SHIPPED_PRICES = "snapshot"  # the price table that is read where a sku is named without a source


@dataclass(frozen=True, slots=True, kw_only=True)
class TopTable:
    """What stands above the first table."""

    name: str | None = None  # default: the file's own
    seed: int = 0
    trust: bool = False  # code may be loaded from the model's own files (pickles)
    carry_sample: bool = True  # the artifact carries items of the verify split
    device: DeviceKind = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTable:
    """[data], but for `source` and the keys of that source."""

    input: str | tuple[str, ...] | None = None  # one column for each input of the model
    features: str | tuple[str, ...] | None = None  # number columns (or patterns like "pixel_*") that make one input together
    label: str | None = None
    classes: tuple[str | float, ...] | None = None  # the label that each output of the model stands for, in order
    group: str | None = None  # rows of one value stay on one side
    pair: bool = False
    split: str | None = None  # a column that says train, calibrate, search or verify
    splits: dict[str, float] | None = None  # share of the rows by split
    limit: int | None = None  # take so many rows, by seed
    verify: dict[str, Any] | None = None  # another table of the same columns, which is the verify split

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,) if isinstance(self.input, str) else self.input or ()

    @property
    def patterns(self) -> tuple[str, ...]:
        return (self.features,) if isinstance(self.features, str) else self.features or ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTable:
    """[search]: restrict it to these members; left out, all of them."""

    methods: tuple[str, ...] | None = None
    runtimes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A job whose tables are checked and whose data is not read yet."""

    top: TopTable
    name: str
    model: MemberRef
    data: DataTable
    data_source: MemberRef | None  # None: live columns
    verify_source: MemberRef | None
    floors: tuple[Floor, ...]
    traffic: Traffic
    slo: Slo
    limits: Limits
    prices: Prices
    budget: Budget
    search: SearchTable

    @property
    def slices(self) -> tuple[str, ...]:
        """The columns that any floor slices by."""
        return tuple(dict.fromkeys(floor.slices for floor in self.floors if floor.slices is not None))


@dataclass(slots=True)
class Mistakes:
    found: list[str] = field(default_factory=list)

    def add(self, where: str, key: str, value: object, expected: str) -> None:
        self.found.append(f"{where} {key} = {shown(value)}: expected {expected}")

    def say(self, text: str) -> None:
        self.found.append(text)

    def raise_if_any(self, title: str) -> None:
        """Raises JobError with a line for each."""
        if self.found:
            count = f"{len(self.found)} mistakes" if len(self.found) > 1 else "1 mistake"
            raise JobError(f"{title}: {count}\n" + "\n".join(f"  {line}" for line in self.found))


def build(cls: type[Table], given: Mapping[str, Any], where: str, mistakes: Mistakes, also: Iterable[str] = ()) -> Table | None:
    """`cls(**given)`, or None after adding to `mistakes`: keys that are unknown or missing, values of another type.

    Types are those of JSON, strictly: 5 is a number, "5" is not. `also` holds keys of the same table that another class
    reads, to be offered where a key is misspelt.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    before = len(mistakes.found)
    for key in given:
        if key not in fields:
            mistakes.say(f"{where} {key}: unknown key; there are: {', '.join([*fields, *also])}.{near(key, [*fields, *also])}")
    for name, one in fields.items():
        if name not in given and one.default is MISSING and one.default_factory is MISSING:
            mistakes.say(f"{where} {name} is missing: expected {expected(cls, name)}")
    values = {key: _value(cls, key, value, where, mistakes) for key, value in given.items() if key in fields}
    if len(mistakes.found) > before:
        return None
    try:
        return cls(**values)
    except JobError as error:
        mistakes.say(f"{where} {error}")
        return None


def shown(value: object) -> str:
    """A value as a job file spells it: 'text', true, [1, 2], { a = 1 }."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {shown(one)}" for key, one in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, str | Path):
        quote = '"' if "'" in str(value) else "'"
        return f"{quote}{value}{quote}"
    if isinstance(value, bool | None):
        return {True: "true", False: "false", None: "nothing"}[value]
    return str(value) if isinstance(value, int | float | np.generic | date) else f"a {type(value).__name__}"


def near(word: str, words: Iterable[str]) -> str:
    """' Did you mean ...?', or nothing where no word is alike."""
    close = difflib.get_close_matches(word, list(words), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def keys(cls: type) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls))


def expected(cls: type, name: str) -> str:
    """What a field takes, in words: 'a number', 'one of server, offline', 'a list of texts'."""
    schema = _adapter(cls, name).json_schema()
    return " or ".join(dict.fromkeys(_words(one) for one in schema.get("anyOf", [schema]) if one.get("type") != "null"))


def _value(cls: type, key: str, value: Any, where: str, mistakes: Mistakes) -> Any:
    try:
        return _adapter(cls, key).validate_json(json.dumps(value, default=_plain), strict=True)
    except ValidationError:
        choices = [c for one in _options(cls, key) for c in one.get("enum", ()) if isinstance(c, str)]
        mistakes.add(where, key, value, expected(cls, key) + (near(value, choices) if isinstance(value, str) else ""))
        return None


def _options(cls: type, key: str) -> list[dict[str, Any]]:
    schema = _adapter(cls, key).json_schema()
    return list(schema.get("anyOf", [schema]))


@cache
def _adapter(cls: type, name: str) -> TypeAdapter[Any]:
    return TypeAdapter(get_type_hints(cls)[name])


def _words(schema: Mapping[str, Any]) -> str:
    """One branch of a JSON schema, in words."""
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"a list of {_words(schema['items']).removeprefix('a ')}s"
    if schema.get("format") == "path":
        return "a path"
    kinds = {"string": "a text", "number": "a number", "integer": "a whole number", "boolean": "true or false"}
    return kinds.get(schema.get("type", ""), "a table")


def _plain(value: object) -> object:
    """JSON of what a call from Python may hold and a TOML file may not."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    return repr(value)
