"""A tree of plain values as YAML, the reason of each reasoned value beside it as a comment."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from farthing.sizing import Reasoned

# Every other text is quoted as JSON does it, which YAML reads alike but for the spelling of rare characters.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9./_-]*")
_READ_AS_SOMETHING_ELSE = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def yaml(tree: Mapping[str, Any], heading: str) -> str:
    """Two spaces a level. `heading` becomes the comment at the top."""
    return "\n".join([*(f"# {line}" for line in heading.splitlines()), *_mapping(tree, "")]) + "\n"


def _mapping(tree: Mapping[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for key, value in tree.items():
        lines += _entry(f"{indent}{_text(key)}:", value, indent + "  ")
    return lines


def _entry(start: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, Reasoned):
        return [f"{start} {_scalar(value.value)}  # {value.reason}"]
    if isinstance(value, Mapping):
        return [start, *_mapping(value, indent)] if value else [f"{start} {{}}"]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [start, *(line for item in value for line in _item(item, indent))] if value else [f"{start} []"]
    return [f"{start} {_scalar(value)}"]


def _item(value: Any, indent: str) -> list[str]:
    if not isinstance(value, Mapping) or not value:
        return _entry(f"{indent}-", value, indent + "  ")
    first, *others = _mapping(value, indent + "  ")
    return [f"{indent}- {first.lstrip()}", *others]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    assert value is None or isinstance(value, bool | int), f"{value!r} has no place in a manifest"
    return json.dumps(value)


def _text(value: str) -> str:
    plain = _PLAIN.fullmatch(value) and value.lower() not in _READ_AS_SOMETHING_ELSE
    if plain:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return re.sub(r"[^ -~]", lambda found: f"\\U{ord(found.group()):08x}", quoted)
