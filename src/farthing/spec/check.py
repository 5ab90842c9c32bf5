"""The tables of a job file -> a Draft: every key known, every member found, every path there, every rule kept."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from farthing import plugins
from farthing.data_sources.base import DataSource
from farthing.errors import JobError, ModelError
from farthing.model_sources.base import ModelSource
from farthing.price_sources.base import PriceSource
from farthing.spec import rules
from farthing.spec.schema import (
    OPTIONAL,
    SHIPPED_PRICES,
    TABLES,
    DataTable,
    Draft,
    Mistakes,
    SearchTable,
    TopTable,
    build,
    keys,
    near,
    shown,
)
from farthing.types import Budget, Floor, Limits, MemberRef, Prices, Slo, Traffic

Table = TypeVar("Table")


def check(job: Mapping[str, Any], root: Path, title: str, *, live: bool = False) -> Draft:
    """Relative paths start at `root`. With `live`, the columns come from the caller and [data] names no source.

    Raises JobError with every mistake in `job`.
    """
    mistakes = Mistakes()
    sections = _Sections(job, root, mistakes)
    data_source = None if live else sections.member(DataSource, "data", own=keys(DataTable))
    parts: dict[str, Any] = {  # None after a mistake
        "top": build(TopTable, {k: v for k, v in job.items() if k not in TABLES}, "job", mistakes, also=TABLES),
        "model": sections.model(),
        "data": sections.beside(DataTable, "data"),
        "data_source": data_source,
        "verify_source": sections.verify_source(data_source),
        "floors": sections.floors(),
        "traffic": sections.traffic(),
        "slo": sections.table(Slo, "slo"),
        "limits": sections.table(Limits, "limits"),
        "prices": sections.prices(),
        "budget": sections.table(Budget, "budget"),
        "search": sections.table(SearchTable, "search"),
    }
    rules.check(parts | {"job": job, "root": root}, mistakes)
    mistakes.raise_if_any(title)
    return Draft(name=parts["top"].name or title.removesuffix(".toml"), **parts)


def check_floors(job: Mapping[str, Any], root: Path, title: str) -> tuple[Floor, ...]:
    """Its floors alone, for who has neither model nor data at hand. Raises JobError with every mistake in them."""
    mistakes = Mistakes()
    sections = _Sections(job, root, mistakes)
    floors = sections.floors()
    rules.check({"floors": floors, "data": sections.beside(DataTable, "data"), "root": root}, mistakes)
    mistakes.raise_if_any(title)
    assert floors is not None
    return floors


def look_at(kind: type[Any], name: str, table: Mapping[str, Any], root: Path, *, trust: bool = False) -> Any:
    """The member that one table names, its files looked at as `check` does. Raises JobError with every mistake in it."""
    mistakes = Mistakes()
    sections = _Sections({name: table, "trust": trust}, root, mistakes)
    ref = sections.model() if name == "model" else sections.member(kind, name)
    if ref is None or mistakes.found:
        raise JobError("\n  ".join(mistakes.found))
    return plugins.make(kind, ref)


@dataclass(frozen=True, slots=True)
class _Sections:
    """The tables of one job file, read one by one; each reader gives None after noting a mistake."""

    job: Mapping[str, Any]
    root: Path
    mistakes: Mistakes

    def table(self, cls: type[Table], name: str) -> Table | None:
        """A table that is one noun."""
        section = self._section(name)
        return None if section is None else build(cls, section, f"[{name}]", self.mistakes)

    def beside(self, cls: type[Table], name: str) -> Table | None:
        """What belongs to `cls` in a table that also holds the keys of a source; the other keys are the source's to judge."""
        section = self._section(name, quiet=True)
        if section is None:
            return None
        known = keys(cls)
        return build(cls, {k: v for k, v in section.items() if k in known}, f"[{name}]", self.mistakes)

    def member(self, kind: type[Any], name: str, own: Iterable[str] = ()) -> MemberRef | None:
        """The member that `source` names, with every key that is not among the table's `own`."""
        section = self._section(name)
        if section is None:
            return None
        return self._ref(kind, {k: v for k, v in section.items() if k not in own}, f"[{name}]", own)

    def model(self) -> MemberRef | None:
        """The member, after a look at its files: what is wrong with them had better be told before a run is begun."""
        known = len(self.mistakes.found)
        ref = self.member(ModelSource, "model")
        if ref is None or len(self.mistakes.found) > known:
            return ref
        try:
            plugins.make(ModelSource, ref).check(trust=self.job.get("trust") is True)  # type: ignore[type-abstract]
        except (JobError, ModelError) as error:
            self.mistakes.say(f"[model] {error}")
        return ref

    def verify_source(self, base: MemberRef | None) -> MemberRef | None:
        """[data.verify]: keys that it leaves out are those of [data], whose source is `base`, unless it names its own."""
        data = self._section("data", quiet=True) or {}
        verify = data.get("verify")
        if not isinstance(verify, Mapping) or ("source" not in verify and "source" in data and base is None):
            return None
        own = keys(DataTable)
        inherited = {} if "source" in verify else {key: value for key, value in data.items() if key not in own}
        return self._ref(DataSource, inherited | dict(verify), "[data.verify]", ())

    def floors(self) -> tuple[Floor, ...] | None:
        given = self.job.get("floor")
        if given is None or isinstance(given, Mapping):
            one = self.table(Floor, "floor")
            return None if one is None else (one,)
        if not isinstance(given, list | tuple) or not given or not all(isinstance(one, Mapping) for one in given):
            self.mistakes.add("job", "floor", given, "a table [floor], or several [[floor]]")
            return None
        floors = [build(Floor, one, f"[[floor]] {i + 1}", self.mistakes) for i, one in enumerate(given)]
        return tuple(floor for floor in floors if floor is not None) if None not in floors else None

    def traffic(self) -> Traffic | None:
        traffic = self.table(Traffic, "traffic")
        if traffic is None or traffic.trace is None:
            return traffic
        return replace(traffic, trace=self._located(traffic.trace, "[traffic] trace"))

    def prices(self) -> Prices | None:
        section = self._section("prices")
        if section is None:
            return None
        if "source" not in section and not section.keys() & {"sku", "menu"}:
            return build(Prices, section, "[prices]", self.mistakes)
        own = [key for key in keys(Prices) if key != "source"]
        table = {"source": SHIPPED_PRICES} | {key: value for key, value in section.items() if key not in own}
        source = self._ref(PriceSource, table, "[prices]", own)
        prices = build(Prices, {key: value for key, value in section.items() if key in own}, "[prices]", self.mistakes)
        return None if prices is None or source is None else replace(prices, source=source)

    def _section(self, name: str, *, quiet: bool = False) -> Mapping[str, Any] | None:
        section = self.job.get(name, {} if name in OPTIONAL else None)
        if isinstance(section, Mapping):
            return section
        if not quiet and section is None:
            self.mistakes.say(f"[{name}] is missing")
        elif not quiet:
            self.mistakes.add("job", name, section, f"a table [{name}]")
        return None

    def _ref(self, kind: type[Any], table: Mapping[str, Any], where: str, own: Iterable[str]) -> MemberRef | None:
        source = table.get("source")
        if not isinstance(source, str):
            known = f"one of {', '.join(plugins.names(kind))}"
            if source is None:
                self.mistakes.say(f"{where} source is missing: expected {known}")
            else:
                self.mistakes.add(where, "source", source, known)
            return None
        try:
            cls = plugins.load(kind, source)
        except JobError as error:
            self.mistakes.say(f"{where} source = {shown(source)}: {error}")
            return None
        given = {key: value for key, value in table.items() if key != "source"}
        if "root" in keys(cls):
            given.setdefault("root", self.root)
        member = build(cls, given, where, self.mistakes, also=own)
        if member is None:
            return None
        values = {key: getattr(member, key) for key in sorted(given)}
        if isinstance(values.get("path"), str) and "package" not in values:
            values["path"] = self._folder(values["path"])
        return MemberRef(name=source, knobs=tuple((k, self._located(v, f"{where} {k}")) for k, v in values.items()))

    def _folder(self, path: str) -> str:
        """`path` made absolute if it, or the folder that it starts in, is there; else it is a name on a hub."""
        first = self.root / (Path(path).parts or (".",))[0]
        is_path = path.startswith((".", "~")) or first.is_dir()
        return str((self.root / Path(path).expanduser()).absolute()) if is_path else path

    def _located(self, value: Any, what: str) -> Any:
        """Every path in `value` made absolute; one that leads nowhere is a mistake."""
        if isinstance(value, tuple):
            return tuple(self._located(one, what) for one in value)
        if not isinstance(value, Path):
            return value
        path = self.root / value.expanduser()
        if not path.exists():
            beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
            self.mistakes.say(f"{what} = {shown(value)}: {path} does not exist.{near(path.name, beside)}")
        return path
