"""A few questions, answered, make a commented job file; model and data are looked at meanwhile, so that it is right at once."""

import ast
import importlib.util
import inspect
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np

from farthing import plugins
from farthing.data_sources.base import DataSource, described
from farthing.dialogue import Talk, number, one_of, whole, yes
from farthing.errors import DataError, FarthingError, JobError, StoreError
from farthing.metrics import metric_of
from farthing.metrics.base import Metric
from farthing.model_sources.base import ModelSource
from farthing.price_sources.base import PriceSource
from farthing.spec.check import look_at
from farthing.spec.job import read
from farthing.spec.live import LIVE
from farthing.spec.rows import rows_of
from farthing.spec.schema import SHIPPED_PRICES, DataTable, expected, near
from farthing.types import Budget, Column, Floor, MemberRef, Traffic

T = TypeVar("T")
Table = dict[str, Any]
Columns = Mapping[str, Column]

MAX_SHOWN = 20  # columns
MOST_CLASSES = 100  # a label of more whole numbers is a quantity
NONE = "none"
LABELS = ("label", "labels", "target", "class", "y", "score")  # what such columns are called, for the answer that is offered
TEXTS = ("text", "sentence", "question", "content", "input")
SCENARIOS = {
    "server": "requests arrive when they will",
    "offline": "a batch of items, done by a deadline",
    "single_stream": "the next request follows the last answer",
}
COMMENTS = {
    "model": "what you run today",
    "data": "a sample of what it is asked; it is split into calibrate, search and verify",
    "floor": f"proven at {Floor(metric='').confidence:.0%} confidence, on data that the search never saw",
    "traffic": "what it must carry",
    "slo": "from the moment a request is sent to its answer",
    "prices": "of the machine that you are on now",
    "budget": "of the search; what it costs counts in the break-even",
}


def write_job(path: Path, *, ask: Callable[[str], str], tell: Callable[[str], None]) -> None:
    """Write a job file from what `ask` answers (EOFError: nobody answers any more), and read it as `optimize` will.

    A bad answer is asked for again, after its mistake was told. Nothing is written before the last question is answered.
    Raises JobError if the answers end, if `path` is to be kept, or if the data cannot carry the question (the file is there
    then), and StoreError if it cannot be written.
    """
    talk = Talk(ask, tell)
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise StoreError(f"{path} cannot be written: it is a folder, or in none. Name a file: farthing init job.toml")
    if path.exists() and not talk.put(f"{path} exists. Overwrite it? (yes, no)", yes, "no"):
        raise JobError(f"{path} exists and was kept. Name another file: farthing init OTHER.toml")
    text = _text(_tables(talk, path.resolve().parent), path)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}. Name another file: farthing init OTHER.toml") from error
    try:
        read(path)
    except FarthingError as error:
        raise JobError(f"{path} was written, but cannot be run yet: {error}") from error


def _tables(talk: Talk, root: Path) -> dict[str, Table]:
    trust, model_table, model = _model(talk, root)
    data_table, columns = _data(talk, root)
    floor, needs_labels = _metric(talk, columns, model, root)
    data_table |= _roles(talk, columns, model, needs_labels)
    drop = talk.put(f"By how much may {floor['metric']} fall at most? (0.01, or 1%)", number, "1%")
    return {
        "": {"trust": True} if trust else {},
        "model": model_table,
        "data": data_table,
        "floor": floor | {"max_drop": drop},
        **_traffic(talk),
        "prices": talk.put(f"What does this machine cost? (USD per hour, or its name, like {_skus()[0]})", _price),
        "budget": {"minutes": talk.put("How many minutes may the search take?", number, f"{Budget().minutes:g}")},
    }


# ---------------------------------------------------------------- where things come from


def _model(talk: Talk, root: Path) -> tuple[bool, Table, ModelSource]:
    names = [name for name in plugins.names(ModelSource) if name != LIVE]
    name = talk.choose("Where does your model come from?", {name: _about(ModelSource, name) for name in names})

    def opened(table: Table) -> tuple[bool, Table, ModelSource]:
        try:
            member = look_at(ModelSource, "model", table, root)
        except JobError as untrusted:
            try:
                member = look_at(ModelSource, "model", table, root, trust=True)
            except JobError:
                raise untrusted from None
            if not talk.put(f"  {untrusted}\n  Do you know its author, and trust it? (yes, no)", yes, "no"):
                raise
            return True, table, member
        table = table | _optional(talk, member)
        return False, table, look_at(ModelSource, "model", table, root)

    return _asked(talk, plugins.load(ModelSource, name), {"source": name}, root, opened)


def _data(talk: Talk, root: Path) -> tuple[Table, Columns]:
    choices = {name: _about(DataSource, name) for name in plugins.names(DataSource)}
    name = talk.choose("What kind of data do you have?", choices)

    def opened(table: Table) -> tuple[Table, Columns]:
        member = look_at(DataSource, "data", table, root)
        table = table | _optional(talk, member)
        columns = look_at(DataSource, "data", table, root).read()
        if len(next(iter(columns.values()))) == 0:
            raise DataError("it has columns, but no rows")
        return table, columns

    table, columns = _asked(talk, plugins.load(DataSource, name), {"source": name}, root, opened)
    talk.tell(f"  {len(next(iter(columns.values()))):,} rows; the columns:")
    talk.show({name: described(columns[name]) for name in list(columns)[:MAX_SHOWN]})
    if len(columns) > MAX_SHOWN:
        talk.tell(f"  and {len(columns) - MAX_SHOWN} more, the last of them {list(columns)[-1]}")
    return table, columns


def _asked(talk: Talk, cls: type[Any], table: Table, root: Path, opened: Callable[[Table], T]) -> T:
    """What `opened` makes of the table with every key that has no default; it judges the last of them, which is asked again."""
    *others, last = [one.name for one in fields(cls) if one.default is MISSING and one.default_factory is MISSING]
    for key in others:
        table = table | {key: talk.put(f"{key} ({_meaning(cls, key)})", lambda answer: _beside(answer, root))}
    return talk.put(f"{last} ({_meaning(cls, last)})", lambda answer: opened(table | {last: _beside(answer, root)}))


def _optional(talk: Talk, member: Any) -> Table:
    """What the member had better be asked beyond what it needs."""
    return {
        key: talk.put(f"{key} ({_meaning(type(member), key)})", _typed(type(offer)), _spelled(offer).strip('"') or None)
        for key, offer in member.questions().items()
    }


def _beside(answer: str, root: Path) -> str:
    """A path from where we are becomes one from the job file."""
    path = Path(answer).expanduser()
    return answer if (root / answer).exists() or not path.exists() else os.path.relpath(path, root)


def _meaning(cls: type[Any], key: str) -> str:
    """What its file says behind the field, which is where docs/job.md sends the reader too."""
    found = re.search(rf"^ +{key}: .*?  # (.*)$", inspect.getsource(cls), re.MULTILINE)
    kind = expected(cls, key)
    return found[1] if found and not kind.startswith("one of") else kind


def _about(kind: type[Any], name: str) -> str:
    """The first line of the member's file, which is not imported; nothing where another package brought it."""
    spec = importlib.util.find_spec(f"{kind.__module__.rpartition('.')[0]}.{name}")
    if spec is None or spec.origin is None:
        return ""
    line = (ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or "").partition("\n")[0]
    return line.rstrip(".")


# ---------------------------------------------------------------- what the columns are for


def _metric(talk: Talk, columns: Columns, model: ModelSource, root: Path) -> tuple[Table, bool]:
    """[floor] so far, and whether its metric needs labels."""
    found: dict[str, bool] = {}
    for name in plugins.names(Metric):
        try:
            found[name] = metric_of(name).needs_labels
        except JobError:  # one that is named by a function of the person's own
            continue
    kinds = {True: "against labels", False: "against the original"}
    choices = {name: f"{kinds[found[name]]}: {_about(Metric, name)}" for name in sorted(found, key=lambda name: found[name])}

    def chosen(answer: str) -> tuple[Table, bool]:
        name = answer if set(answer) & set(":@") else one_of(answer, list(choices))
        if ":" in name:
            plugins.function(name, root)
        return {"metric": name}, metric_of(name).needs_labels

    talk.show(choices, numbered=True)
    question = "Which quality must it keep? (a name or its number, name@k, or package.module:function)"
    return talk.put(question, chosen, _likely_metric(columns, model))


def _likely_metric(columns: Columns, model: ModelSource) -> str:
    label = _likely_label(columns)
    if label is None:
        return "cosine" if model.reads == "texts" else "argmax_agreement"
    column = columns[label]
    if not isinstance(column, np.ndarray):
        return "accuracy"
    is_whole = column.dtype.kind in "biu" or not np.any(column % 1)
    if is_whole and len(np.unique(column)) <= MOST_CLASSES:
        return "accuracy"
    return "spearman" if model.reads == "texts" else "rmse"


def _likely_label(columns: Columns) -> str | None:
    return next((name for name in columns if name.lower() in LABELS), None)


def _roles(talk: Talk, columns: Columns, model: ModelSource, needs_labels: bool) -> Table:
    """What each column is for: keys of [data]."""
    roles: Table = {}
    if needs_labels:

        def label(answer: str) -> str:
            rows_of(columns, None, DataTable(input=answer, label=answer), ())
            return answer

        roles["label"] = talk.put("Which column holds the labels?", label, _likely_label(columns) or list(columns)[-1])
    others = {name: column for name, column in columns.items() if name != roles.get("label")}
    if not others:
        raise JobError("the data has no column beside the labels: bring one that the model reads. Nothing was written")

    def inputs(answer: str) -> Table:
        found = roles | _inputs(answer, others, model)
        table: Table = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
        rows_of(columns, None, DataTable(**table), ())
        return found

    question = "What does the model read? (a column; several: a, b; patterns: pixel_*; *: all that are numbers)"
    roles = talk.put(question, inputs, _likely_inputs(others, model))
    named = [roles.get("label"), *_listed(roles.get("input")), *_listed(roles.get("features"))]
    used = {column for name in named if name for column in _matching(name, columns)}
    rest = [name for name in columns if name not in used]
    if rest:
        question = (
            f"Which column tells rows that belong together, such as a customer's? ({NONE}, or one of {', '.join(rest[:8])})"
        )
        if (group := talk.put(question, lambda answer: one_of(answer, [NONE, *rest]), NONE)) != NONE:
            roles["group"] = group
    return roles


def _inputs(answer: str, columns: Columns, model: ModelSource) -> Table:
    """Texts and arrays are inputs of their own, plain numbers are features that make one input together."""
    names = [name.strip() for name in answer.split(",") if name.strip()]
    matching = {column for name in names for column in _matching(name, columns)}
    for name in names:
        if not _matching(name, columns):
            raise DataError(f"there is no column {name!r}; there are: {', '.join(columns)}.{near(name, columns)}")
    apart = [name for name in names if name in columns and not _is_number(columns[name])]
    if apart and len(apart) < len(names):
        raise DataError(f"{', '.join(apart)} and numbers cannot be read together: name columns of one kind")
    if apart:
        texts = [name for name in names if not isinstance(columns[name], np.ndarray)]
        return {"input": names if len(names) > 1 else names[0]} | ({"pair": True} if len(texts) == 2 else {})
    if model.reads == "texts":
        raise DataError("the model reads texts, and these are numbers: name a column of texts")
    numbers = [column for column in columns if column in matching and _is_number(columns[column])]
    if not numbers:
        raise DataError(f"none of {', '.join(matching)} holds numbers, one a row: name others")
    return {"features": (names if len(numbers) == len(matching) else numbers) if len(numbers) > 1 else numbers[0]}


def _matching(name: str, columns: Columns) -> list[str]:
    """The column of that very name, else all that match it as a pattern."""
    return [name] if name in columns else [column for column in columns if fnmatchcase(column, name)]


def _likely_inputs(columns: Columns, model: ModelSource) -> str:
    texts = [name for name, column in columns.items() if not isinstance(column, np.ndarray)]
    arrays = [name for name, column in columns.items() if isinstance(column, np.ndarray) and column.ndim > 1]
    if texts and (model.reads == "texts" or not any(_is_number(column) for column in columns.values())):
        named = next((name for name in texts if name.lower() in TEXTS), None)
        pair = model.reads == "texts" and len(texts) == 2 and named is None
        return ", ".join(texts) if pair else named or texts[0]
    return arrays[0] if arrays else "*"


def _is_number(column: Column) -> bool:
    return isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype.kind in "biuf"


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


# ---------------------------------------------------------------- traffic and prices


def _traffic(talk: Talk) -> dict[str, Table]:
    """[traffic], and [slo] where one is set."""
    names = get_args(get_type_hints(Traffic)["scenario"])
    traffic: Table = {"scenario": talk.choose("How is it used?", {name: SCENARIOS[name] for name in names}, names[0])}
    if traffic["scenario"] == "server":
        traffic["rate_per_s"] = talk.put("How many requests per second?", number, "10")
    if traffic["scenario"] == "offline":
        traffic["num_items"] = talk.put("How many items are in one run?", whole, "1_000_000")
        traffic["deadline_s"] = talk.put("Within how many seconds must it be done?", number, "3600")
        return {"traffic": traffic}
    question = f"Within how many seconds must 99 of 100 answers be there? (like 0.05; {NONE}: no limit)"
    ceiling = talk.put(question, lambda answer: None if answer == NONE else number(answer), NONE)
    return {"traffic": traffic} | ({} if ceiling is None else {"slo": {"latency_p99_s": ceiling}})


def _price(answer: str) -> Table:
    if answer[0] in "0123456789.-+$":
        return {"usd_per_hour": number(answer.removeprefix("$"))}
    if answer not in (known := _skus()):
        raise JobError(
            f"{answer!r} is neither a number nor one of the {len(known)} machines that are known.{near(answer, known)}"
        )
    return {"sku": answer}


def _skus() -> list[str]:
    source = plugins.make(PriceSource, MemberRef(name=SHIPPED_PRICES))  # type: ignore[type-abstract]
    return [price.sku for price in source.prices(spot=False)]


# ---------------------------------------------------------------- the file


def _typed(kind: type) -> Callable[[str], Any]:
    return {bool: yes, int: whole, float: number}.get(kind, str)


def _text(tables: Mapping[str, Table], path: Path) -> str:
    lines = [
        "# A job of farthing: what to make cheaper, and what must stay as it is. docs/job.md tells every key.",
        f"# Next: farthing optimize {path.name}",
    ]
    for name, table in tables.items():
        comment = f" # {COMMENTS[name]}" if name in COMMENTS else ""
        lines += ["", f"[{name}]{comment}"] if name else [""] * bool(table)
        lines += [f"{key} = {_spelled(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _spelled(value: Any) -> str:
    """As TOML writes it."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Iterable):
        return f"[{', '.join(map(_spelled, value))}]"
    return str(value).lower() if isinstance(value, bool) else repr(value)
