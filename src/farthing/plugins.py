"""Name -> file -> class: the only dynamic import, so that a new member of an open set is one new file."""

import dataclasses
import difflib
import importlib
import pkgutil
from abc import ABC
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

from farthing.errors import JobError
from farthing.types import MemberRef

Member = TypeVar("Member", bound=ABC)


def names(kind: type[ABC]) -> tuple[str, ...]:
    """Names of all members of the open set `kind` (an abstract class in `<set>/base.py`); imports none of them."""
    package = importlib.import_module(_package(kind))
    own = {m.name for m in pkgutil.iter_modules(package.__path__)} - {"base"}
    foreign = {point.name for point in entry_points(group=package.__name__)}
    return tuple(sorted(own | foreign))


def load(kind: type[Member], name: str) -> type[Member]:
    """The class of the member `name`: imports that one file (or the entry point of another package).

    Raises JobError naming the nearest spelling if there is no such member.
    """
    package = _package(kind)
    for point in entry_points(group=package):
        if point.name == name:
            return _checked(kind, point.load())
    if name not in names(kind):
        near = difflib.get_close_matches(name, names(kind), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise JobError(f"{package.rpartition('.')[2]}: {name!r} is none of {', '.join(names(kind))}.{hint}")
    module = importlib.import_module(f"{package}.{name}")
    (cls,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, kind) and value.__module__ == module.__name__
    )
    return cls


def make(kind: type[Member], ref: MemberRef) -> Member:
    """The member that `ref` names, with its knobs set. Raises JobError for a knob that the member does not have."""
    cls = load(kind, ref.name)
    known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for knob in dict(ref.knobs):
        if knob not in known:
            near = difflib.get_close_matches(knob, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise JobError(f"{ref.name} has no knob {knob!r}; it has: {', '.join(sorted(known)) or 'none'}.{hint}")
    return cls(**dict(ref.knobs))


def ref(member: ABC) -> MemberRef:
    """The name and the knobs of a member: `make(kind, ref(member)) == member`."""
    name = type(member).__module__.rpartition(".")[2]
    knobs: Mapping[str, Any] = {f.name: getattr(member, f.name) for f in dataclasses.fields(member)}  # type: ignore[arg-type]
    return MemberRef(name=name, knobs=tuple(sorted(knobs.items())))


def _package(kind: type[ABC]) -> str:
    return kind.__module__.rpartition(".")[0]


def _checked(kind: type[Member], cls: object) -> type[Member]:
    if not (isinstance(cls, type) and issubclass(cls, kind)):
        raise JobError(f"entry point {cls!r} is not a {kind.__name__}: subclass {kind.__module__}.{kind.__name__}")
    return cls
