"""The contract of a model source: where a person's model comes from."""

import inspect
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from farthing.errors import MissingExtra, ModelError
from farthing.pipeline import collate, encode
from farthing.types import Array, Feeds, Pipeline, TensorSpec

TOKENIZER = "tokenizer.json"
SAMPLE = "Any text will do, as long as it is made of a few words."  # what a text model is first run on


class ModelSource(ABC):
    """A frozen dataclass; its fields are the keys of the job's [model] table.

    Laws (checked over every member by `farthing.testing.model_sources`):
    - `snapshot` writes everything the pipeline needs below `directory`: the source may vanish afterwards.
    - `snapshot` twice gives files with equal digests.
    - A file that holds code (a pickle) is refused with a ModelError unless `trust` is true.
    """

    @abstractmethod
    def snapshot(self, directory: Path, *, trust: bool) -> Pipeline:
        """Write the model in its own form into the existing, empty `directory`. Runs in a worker process.

        Raises ModelError naming what is missing or unreadable, and MissingExtra.
        """


def snapshot_object(model: Any, directory: Path) -> Pipeline:
    """A live model as a pipeline, from a scikit-learn estimator, (estimator, anything), (module, example input) or
    (module, example text input, tokenizer file or folder, max_length).

    An example input is a tensor or array, or a tuple of them, whose first axis is the batch; float64 arrays are taken as
    float32. Those of a text model are int64 of shape (batch, length), and its forward names them input_ids, attention_mask, ...
    """
    obj, *rest = model if isinstance(model, tuple) else (model,)
    if hasattr(obj, "predict") and hasattr(obj, "get_params"):
        from farthing.forms import sklearn_form

        return sklearn_form.snapshot(obj, directory)
    if not (hasattr(obj, "forward") and len(rest) in (1, 3)):
        given = ", ".join(type(one).__name__ for one in (obj, *rest))
        raise ModelError(f"({given}) is none of an estimator, (module, example) and (module, example, tokenizer, max_length)")
    from farthing.forms import torch_form

    values = [_array(value) for value in (rest[0] if isinstance(rest[0], tuple | list) else (rest[0],))]
    names = _argument_names(obj, len(values))
    if len(rest) == 1:
        inputs = tuple(
            TensorSpec(name=n, dtype=str(v.dtype), shape=("batch", *v.shape[1:])) for n, v in zip(names, values, strict=True)
        )
        return torch_form.snapshot(obj, inputs, dict(zip(names, values, strict=True)), directory)
    text = {"tokenizer": copy_tokenizer(Path(rest[1]), directory), "max_length": int(rest[2])}
    inputs = text_inputs(names)
    return torch_form.snapshot(obj, inputs, text_example(directory, inputs), directory, **text)


def text_inputs(names: list[str]) -> tuple[TensorSpec, ...]:
    known = ("input_ids", "attention_mask", "token_type_ids")
    for name in names:
        if name not in known:
            raise ModelError(f"a text model takes {', '.join(known)}, not {name!r}: rename the argument, or give arrays")
    return tuple(TensorSpec(name=name, dtype="int64", shape=("batch", "length")) for name in names)


def text_example(directory: Path, inputs: tuple[TensorSpec, ...]) -> Feeds:
    """One tokenized text, so that every id is one of the tokenizer's own."""
    draft = Pipeline(directory=directory, form="", file="", inputs=inputs, outputs=(), tokenizer=TOKENIZER)
    return collate(draft, encode(draft, [(SAMPLE,)]))


def copy_tokenizer(path: Path, directory: Path) -> str:
    """Copy a tokenizer file (or that of a folder), its own padding and truncation cleared. Raises ModelError, MissingExtra."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtra("tokenizers", "onnx") from error
    path = path / TOKENIZER if path.is_dir() else path
    if not path.is_file():
        raise ModelError(f"no tokenizer at {path}: give a {TOKENIZER} as the library `tokenizers` writes it")
    shutil.copy(path, directory / TOKENIZER)
    tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
    save_tokenizer(tokenizer, directory)
    return TOKENIZER


def save_tokenizer(tokenizer: Any, directory: Path) -> str:
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(directory / TOKENIZER))
    return TOKENIZER


def _array(value: Any) -> Array:
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if array.ndim == 0:
        raise ModelError(f"the example input {value!r} has no batch axis: give a tensor whose first axis counts items")
    return array.astype(np.float32) if array.dtype == np.float64 and not hasattr(value, "detach") else array


def _argument_names(module: Any, count: int) -> list[str]:
    parameters = inspect.signature(module.forward).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(names) >= count:
        return names[:count]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return names + [f"input_{i}" for i in range(len(names), count)]
    raise ModelError(f"the example has {count} inputs, forward takes {len(names)}: {', '.join(names)}")
