"""The contract of a model source: where a person's model comes from."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from farthing.errors import MissingExtra, ModelError
from farthing.pipeline import collate, encode
from farthing.types import Array, Feeds, Pipeline, TensorSpec

TOKENIZER = "tokenizer.json"
USUAL_LENGTH = 128  # tokens, offered where a model does not say how long a text may be
PADS = ("[PAD]", "<pad>")  # how tokenizers spell it that do not say
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

    def check(self, *, trust: bool) -> None:  # noqa: B027 - a member may have nothing to look at
        """Raises JobError or ModelError for what a look at the files shows, before a run is begun.

        Runs in the parent: opens no model, imports nothing heavy and runs no code of the person's.
        """

    @property
    def reads(self) -> Literal["texts", "numbers"] | None:
        """What its requests are; None where only the opened model could tell."""
        return None

    def questions(self) -> Mapping[str, Any]:
        """Optional keys that `farthing init` had better ask for, the others being set: key -> the answer it offers."""
        return {}


def inside(folder: Path, pattern: str) -> str:
    """': a, b' of the files that match, or nothing where none do."""
    names = sorted(path.name for path in folder.glob(pattern))
    return f": {', '.join(names[:5])}" if names else ""


def snapshot_object(model: Any, directory: Path) -> Pipeline:
    """A live model as a pipeline, from a scikit-learn estimator, (estimator, anything), (module, example input) or
    (module, example text input, tokenizer, max_length). A tokenizer is a `tokenizers.Tokenizer`, a fast one of transformers,
    or the file or folder of one.

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
    name, pad_id = write_tokenizer(rest[1], directory)
    text = {"tokenizer": name, "max_length": int(rest[2]), "pad_id": pad_id}
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


def write_tokenizer(given: Any, directory: Path) -> tuple[str, int]:
    """(file, pad_id) of what `read_tokenizer` takes, its own padding and truncation cleared."""
    tokenizer = read_tokenizer(given)
    found = [tokenizer.token_to_id(token) for token in PADS]
    pad_id = tokenizer.padding["pad_id"] if tokenizer.padding else next((one for one in found if one is not None), 0)
    return save_tokenizer(type(tokenizer).from_str(tokenizer.to_str()), directory), pad_id


def read_tokenizer(given: Any) -> Any:
    """The `tokenizers.Tokenizer` that is given, or that a fast tokenizer of transformers, a file or a folder holds.

    Raises ModelError for what is none, and MissingExtra.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtra("tokenizers", "onnx") from error
    tokenizer = getattr(given, "backend_tokenizer", given)
    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    if not isinstance(given, str | Path):
        raise ModelError(
            f"a {type(given).__name__} is no tokenizer: give a tokenizers.Tokenizer, or the path of its {TOKENIZER}"
        )
    path = Path(given) / TOKENIZER if Path(given).is_dir() else Path(given)
    if not path.is_file():
        raise ModelError(f"no tokenizer at {path}: give a {TOKENIZER} as the library `tokenizers` writes it")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower type
        raise ModelError(f"{path} is not a tokenizer that the library `tokenizers` wrote: {error}") from error


def save_tokenizer(tokenizer: Any, directory: Path) -> str:
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(directory / TOKENIZER))
    return TOKENIZER


def _array(value: Any) -> Array:
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if array.ndim == 0:
        raise ModelError(f"the example input {array} is a single number: give a tensor whose first axis counts items")
    return array.astype(np.float32) if array.dtype == np.float64 and not hasattr(value, "detach") else array


def _argument_names(module: Any, count: int) -> list[str]:
    """Those of its forward; a module that passes all of them on may name them in `input_names`."""
    if len(told := getattr(module, "input_names", ())) == count:
        return list(told)
    parameters = inspect.signature(module.forward).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(names) >= count:
        return names[:count]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return names + [f"input_{i}" for i in range(len(names), count)]
    raise ModelError(f"the example has {count} inputs, forward takes {len(names)}: {', '.join(names)}")
