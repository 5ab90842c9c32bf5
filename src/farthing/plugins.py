"""Name -> file -> class: the only dynamic import, so that a new member of an open set is one new file."""

import dataclasses
import difflib
import importlib
import pkgutil
import sys
from abc import ABC
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from farthing.errors import JobError
from farthing.types import MemberRef

Member = TypeVar("Member", bound=ABC)


def names(kind: type[ABC]) -> tuple[str, ...]:
    """Names of all members of the open set `kind` (an abstract class in `<set>/base.py`); imports none of them."""
    package = importlib.import_module(_package(kind))
    own = {m.name for m in pkgutil.iter_modules(package.__path__)} - {"base"}
    foreign = {point.name for point in _foreign(package.__name__)}
    return tuple(sorted(own | foreign))


def load(kind: type[Member], name: str) -> type[Member]:
    """The class of the member `name`: imports that one file (or the entry point of another package).

    Raises JobError naming the nearest spelling if there is no such member.
    """
    package = _package(kind)
    for point in _foreign(package):
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
    known = {field.name for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for knob in dict(ref.knobs):
        if knob not in known:
            near = difflib.get_close_matches(knob, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise JobError(f"{ref.name} has no knob {knob!r}; it has: {', '.join(sorted(known)) or 'none'}.{hint}")
    return cls(**dict(ref.knobs))


def ref(member: ABC) -> MemberRef:
    """The name and the knobs of a member: `make(kind, ref(member)) == member`."""
    name = type(member).__module__.rpartition(".")[2]
    fields = [f.name for f in dataclasses.fields(member) if f.init]  # type: ignore[arg-type]
    knobs: Mapping[str, Any] = {name: getattr(member, name) for name in fields}
    return MemberRef(name=name, knobs=tuple(sorted(knobs.items())))


def function(name: str, root: Path | None = None) -> Callable[..., Any]:
    """What "package.module:function" names in a job; `root` (the job file's folder) is searched first, from now on.

    Raises JobError saying which part of the name is missing. An error inside the module itself comes out as it is.
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise JobError(f"{name!r} is not of the form 'package.module:function'")
    if root is not None and str(root) not in sys.path:
        sys.path.insert(0, str(root))
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise JobError(f"{name!r}: no module {error.name!r} in {root or 'the path'}; put it there or install it") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        near = difflib.get_close_matches(attribute, [n for n, value in vars(module).items() if callable(value)], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise JobError(f"{name!r}: {module_name} has no function {attribute!r}.{hint}")
    return found  # type: ignore[no-any-return]


@cache
def _foreign(package: str) -> tuple[EntryPoint, ...]:
    """Members that other installed packages bring; reading every package's metadata takes long, so it is done once."""
    return tuple(entry_points(group=package))


def _package(kind: type[ABC]) -> str:
    return kind.__module__.rpartition(".")[0]


def _checked(kind: type[Member], cls: object) -> type[Member]:
    if not (isinstance(cls, type) and issubclass(cls, kind)):
        raise JobError(f"entry point {cls!r} is not a {kind.__name__}: subclass {kind.__module__}.{kind.__name__}")
    return cls
