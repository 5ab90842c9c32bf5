"""The form `sklearn` on disk: an estimator in a skops file. How it is written, read and asked."""

import io
import pickle
import re
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from farthing.errors import MissingExtra, ModelError
from farthing.forms.probing import outputs_of
from farthing.pipeline import synthetic, write
from farthing.types import Array, Feeds, Pipeline, TensorSpec

FILE = "model.skops"
TRUSTED = ("sklearn.",)  # data for code that is installed here: a malformed tree can crash its worker, and no more
ANSWERS = {"predict_proba": "probabilities", "decision_function": "scores", "predict": "variable"}  # the first that is there


def snapshot(estimator: Any, directory: Path, *, trust: bool = True) -> Pipeline:
    """Write a fitted estimator and describe its outputs by running what was written.

    The input is (batch, n_features) float32, or texts where the estimator was fitted on them (a vectorizer comes first).
    """
    skops = _skops()
    try:
        (directory / FILE).write_bytes(_settled(skops.dumps(estimator)))
    except (skops.exceptions.UnsupportedTypeException, pickle.PicklingError, TypeError) as error:
        raise ModelError(
            f"{type(estimator).__name__} cannot be written by skops: {error}. Convert it to ONNX yourself."
        ) from error
    return describe(directory, trust=trust)


def describe(directory: Path, *, trust: bool) -> Pipeline:
    """The pipeline of a skops file that lies in `directory`. Raises ModelError for types beyond scikit-learn without trust."""
    foreign = _foreign(directory / FILE)
    if foreign and not trust:
        raise ModelError(
            f"the file holds types outside scikit-learn: {', '.join(foreign)}. Set trust = true if you know its author."
        )
    draft = Pipeline(
        directory=directory,
        form="sklearn",
        file=FILE,
        inputs=(),
        outputs=(),
        traits=frozenset({"float_weights"}),
        pickled=bool(foreign),
    )
    estimator = load(draft)
    num_features = getattr(estimator, "n_features_in_", None)
    shape, dtype = (("batch",), "str") if num_features is None else (("batch", num_features), "float32")
    draft = replace(draft, inputs=(TensorSpec(name="X", dtype=dtype, shape=shape),))
    try:
        outputs = outputs_of(lambda feeds: ask(estimator, feeds), synthetic(draft, 2, 1), draft.inputs, _names(estimator))
    except (ValueError, AttributeError, TypeError) as error:  # NotFittedError is both of the first two
        raise ModelError(f"{type(estimator).__name__} does not run on {dtype} of shape {shape}: {error}") from error
    return write(replace(draft, outputs=outputs))


def load(pipeline: Pipeline) -> Any:
    """The estimator, a fresh copy that the caller may change. Raises ModelError if it cannot be read with this scikit-learn."""
    skops = _skops()
    foreign = _foreign(pipeline.path)
    if foreign and not pipeline.pickled:
        raise ModelError(f"{pipeline.path} holds types that were not in it when it was snapshotted: {', '.join(foreign)}")
    try:
        return skops.load(pipeline.path, trusted=skops.get_untrusted_types(file=pipeline.path))
    except (ValueError, TypeError, AttributeError, ImportError, KeyError) as error:
        raise ModelError(f"{pipeline.path} cannot be loaded with the scikit-learn installed here: {error}") from error


def ask(estimator: Any, feeds: Feeds) -> list[Array]:
    """Probabilities where the estimator has them, else decision scores (two columns for two classes), else predictions."""
    method = next(name for name in ANSWERS if hasattr(estimator, name))
    (features,) = feeds.values()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")  # a request has values, not names
        answer = getattr(estimator, method)(features)
    if method == "decision_function" and answer.ndim == 1:
        answer = np.stack([-answer, answer], axis=1)
    return [_narrowed(value) for value in (answer if isinstance(answer, list) else [answer])]


def _names(estimator: Any) -> list[str]:
    name = next((ANSWERS[method] for method in ANSWERS if hasattr(estimator, method)), None)
    if name is None:
        raise ModelError(f"{type(estimator).__name__} has none of {', '.join(ANSWERS)}: give a fitted classifier or regressor")
    return [name, *(f"{name}_{i}" for i in range(1, getattr(estimator, "n_outputs_", 1)))]


def _narrowed(value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ModelError(f"the estimator predicts {array.dtype} values and has no probabilities: encode its classes as numbers")
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _foreign(path: Path) -> list[str]:
    skops = _skops()
    try:
        types = skops.get_untrusted_types(file=path)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is not a readable skops file: {error}") from error
    return [name for name in types if not name.startswith(TRUSTED)]


def _settled(dump: bytes) -> bytes:
    """skops names parts by memory address and stamps the time; here they are counted, so that equal models give equal bytes."""
    names: dict[str, str] = {}

    def counted(match: re.Match[str]) -> str:
        stem, dot, suffix = match[0].partition(".")
        return names.setdefault(stem, str(len(names))) + dot + suffix

    settled = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(dump)) as source, zipfile.ZipFile(settled, "w") as target:
        schema = re.sub(r'(?<="__id__": )\d+|(?<="file": ")[^"]+', counted, source.read("schema.json").decode())
        target.writestr(zipfile.ZipInfo("schema.json"), schema)
        for name in sorted(set(source.namelist()) - {"schema.json"}, key=lambda name: int(names[name.partition(".")[0]])):
            stem, dot, suffix = name.partition(".")
            target.writestr(zipfile.ZipInfo(names[stem] + dot + suffix), source.read(name))
    return settled.getvalue()


def _skops() -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise MissingExtra("skops", "sklearn") from error
    return skops.io
