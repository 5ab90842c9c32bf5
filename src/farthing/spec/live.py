"""A call with live objects becomes a Job: the model is snapshotted on entry, columns are taken as they are."""

import hashlib
import io
import json
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from farthing.data_sources.base import checked, from_values
from farthing.errors import DataError, JobError, StoreError
from farthing.model_sources.base import read_tokenizer
from farthing.spec.check import check
from farthing.spec.job import digest, job_of
from farthing.spec.schema import shown
from farthing.types import Budget, Column, Dataset, Floor, Job, Limits, MemberRef, Prices, Slo, Traffic

Live = Mapping[str, Any]  # a table, as in a job file
LIVE = "live"  # the model source that reads back what is pickled here


def read_live(  # noqa: PLR0913 - one argument for each table of a job file
    *,
    model: Any,
    data: Any,
    floor: Floor | Live | Sequence[Floor | Live],
    traffic: Traffic | Live,
    prices: Prices | Live,
    directory: Path,
    slo: Slo | Live | None = None,
    limits: Limits | Live | None = None,
    budget: Budget | Live | None = None,
    search: Live | None = None,
    labels: Any = None,
    name: str = "live",
    seed: int = 0,
    **top: Any,
) -> Job:
    """`read` with live objects; `top` holds the other keys above the first table (trust, device, carry_sample).

    model: (torch.nn.Module, example_input); of texts, (module, example_input, tokenizer, max_length), where the example is
    int64 token ids (batch, length) for each argument of forward, which are named input_ids, attention_mask, token_type_ids,
    and the tokenizer a `tokenizers.Tokenizer`, a fast one of transformers or the path of either; a fitted scikit-learn
    estimator; or a [model] table. A live one is pickled by value into `directory / "live"`; in the job's digest it counts by
    its weights and code.
    data: a Dataset; texts; an array whose first axis counts items; a tuple of those, one for each input of the model; or a
    [data] table, in which `columns`, a mapping of live columns, may stand in place of a source. `labels`: one for each item.

    Raises JobError and DataError as `read` does, and StoreError if `directory` cannot be written.
    """
    columns, data_table = _data(data, labels)
    fingerprint, model_table = (None, model) if isinstance(model, Mapping) else _snapshot(model, directory / "live")
    table = {
        **top,
        "name": name,
        "seed": seed,
        "model": model_table,
        "data": data_table,
        "floor": [_table(one) for one in floor] if isinstance(floor, Sequence) else _table(floor),
        "traffic": _table(traffic),
        "slo": _table(slo),
        "limits": _table(limits),
        "prices": _table(prices),
        "budget": _table(budget),
        "search": search or {},
    }
    job = job_of(check(table, Path.cwd(), name, live=columns is not None), columns)
    if fingerprint is None:
        return job
    same_in_every_process = MemberRef(name=LIVE, knobs=(("fingerprint", fingerprint),))
    return replace(job, digest=digest(replace(job, model=same_in_every_process)))


def _table(noun: Any) -> Any:
    """A noun as the table that says the same: its fields that differ from their defaults."""
    if noun is None:
        return {}
    if not isinstance(noun, Floor | Traffic | Slo | Limits | Prices | Budget):
        return noun
    table = {f.name: value for f in fields(noun) if (value := getattr(noun, f.name)) != f.default}
    source = table.get("source")
    return table | {"source": source.name, **dict(source.knobs)} if isinstance(source, MemberRef) else table


def _snapshot(model: Any, directory: Path) -> tuple[str, Live]:
    """The fingerprint of a live model, and its [model] table: cloudpickle of what `snapshot_object` takes, for `live`."""
    model = _checked(model)
    stable = io.BytesIO()
    try:
        _Fingerprint(stable).dump(model)
        payload = cloudpickle.dumps(model)
    except (pickle.PicklingError, TypeError) as error:
        kind = type(model[0] if isinstance(model, tuple) else model).__name__
        raise JobError(f"model: {kind} cannot be pickled: {error}. Name a factory with source = 'python'") from error
    fingerprint = hashlib.sha256(stable.getvalue()).hexdigest()
    path = directory.resolve() / f"{fingerprint}.pkl"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(payload)
        unfinished.replace(path)
    except OSError as error:
        raise StoreError(f"the model cannot be written to {path}: {error}") from error
    return fingerprint, {"source": LIVE, "path": path, "sha256": hashlib.sha256(payload).hexdigest()}


class _Fingerprint(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles to bytes that are the same in every process; plain ones hold storage addresses, class ids, sets in any order."""

    def persistent_id(self, obj: Any) -> Any:
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(obj, torch.Tensor) and obj.layout == torch.strided and not obj.is_quantized:
            numbers = obj.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            return str(obj.dtype), tuple(obj.shape), hashlib.sha256(numbers).hexdigest()
        tokenizers = sys.modules.get("tokenizers")
        if tokenizers is not None and isinstance(obj, tokenizers.Tokenizer):
            return json.dumps(json.loads(obj.to_str()), sort_keys=True)
        if isinstance(obj, set | frozenset):
            return sorted(map(repr, obj))
        if isinstance(obj, str) and obj in cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID:
            return "class"
        return None


def _checked(model: Any) -> Any:
    """What brought the model is loaded already, if it is what it seems to be: nothing heavy is imported here."""
    torch, sklearn = sys.modules.get("torch"), sys.modules.get("sklearn.base")
    obj, *rest = model if isinstance(model, tuple) and model else (model,)
    if torch is not None and isinstance(obj, torch.nn.Module):
        if len(rest) == 3:
            _check_length(rest[2])
            return obj, rest[0], read_tokenizer(rest[1]), rest[2]
        if len(rest) == 1 and rest[0] is not None:
            return obj, rest[0]
        raise JobError(
            f"model: give ({type(obj).__name__}, example_input), a tuple of tensors as its forward takes them; for texts"
            f" ({type(obj).__name__}, example_input, tokenizer, max_length)"
        )
    if sklearn is not None and isinstance(obj, sklearn.BaseEstimator):
        return obj
    raise JobError(
        f"model: {type(obj).__name__} is none of (torch.nn.Module, example_input), (torch.nn.Module, example_input, tokenizer,"
        " max_length), a fitted scikit-learn estimator, and a [model] table with the keys source and path"
    )


def _check_length(max_length: Any) -> None:
    if not isinstance(max_length, int) or max_length < 1:
        raise JobError(f"model: max_length is {shown(max_length)}, expected a whole number of tokens > 0")


def _data(data: Any, labels: Any) -> tuple[dict[str, Column] | None, Any]:
    """Live columns (None: a source is named) and the [data] table that says how to read them."""
    if isinstance(data, Mapping):
        if labels is not None:
            raise JobError("labels has no effect beside a [data] table: name the column as its label")
        if "columns" not in data or "source" in data:
            return None, data
        return _columns(data["columns"]), {key: value for key, value in data.items() if key != "columns"}
    if isinstance(data, Dataset):
        if labels is not None and data.labels is not None:
            raise JobError("labels are given twice: in the Dataset, and beside it")
        labels = data.labels if labels is None else labels
        parts, slices, pair = data.columns, dict(data.slices), data.pair
    else:
        parts, slices, pair = data if isinstance(data, tuple) else (data,), {}, False
    inputs = {f"input_{i}": part for i, part in enumerate(parts)}
    table: dict[str, Any] = {"input": list(inputs), "pair": pair}
    if labels is None:
        return _columns(inputs | slices), table
    return _columns(inputs | slices | {"label": labels}), table | {"label": "label"}


def _columns(columns: Mapping[str, Any]) -> dict[str, Column]:
    return checked({name: _column(name, values) for name, values in columns.items()}, "the call")


def _column(name: str, values: Any) -> Column:
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise DataError(f"data: {name} is {shown(values)}, expected a list of texts or an array")
    array = np.asarray(values) if hasattr(values, "__array__") else None
    return array if array is not None and array.dtype.kind in "biuf" else from_values(values)
