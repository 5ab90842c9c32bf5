"""What a fitted scikit-learn model is made of: the steps before its estimator, the estimator, and the rows it may be shown."""

from pathlib import Path
from typing import Any

import numpy as np

from farthing import pipeline as pipelines
from farthing.errors import BuildError
from farthing.forms import sklearn_form
from farthing.results import Profile
from farthing.types import Array, Dataset, Pipeline

FEWEST_ROWS = 8  # fewer say next to nothing about what a part is worth


def known_network(profile: Profile) -> str | None:
    """Why a method for scikit-learn cannot be for this original, or None where it may be one: those hide their operators."""
    return "the original is a network: its operators are known one by one" if profile.ops else None


def final(model: Any) -> Any:
    """The estimator that answers: the last step of a scikit-learn Pipeline, or the model itself."""
    from sklearn.pipeline import Pipeline as Steps

    return model.steps[-1][1] if isinstance(model, Steps) else model


def with_final(model: Any, estimator: Any) -> Any:
    """`model`, which the caller owns, answering with `estimator` after the same steps."""
    from sklearn.pipeline import Pipeline as Steps

    return Steps([*model.steps[:-1], (model.steps[-1][0], estimator)]) if isinstance(model, Steps) else estimator


def before_final(model: Any, rows: Any) -> Any:
    """(n, features) what the estimator that answers is shown of `rows`."""
    from sklearn.pipeline import Pipeline as Steps

    return model[:-1].transform(rows) if isinstance(model, Steps) and len(model.steps) > 1 else rows


def rows_of(dataset: Dataset, source: Pipeline, method: str, *, most: int, seed: int) -> tuple[Array, Array | None]:
    """(n, inputs) at most `most` rows of the split, drawn by the seed, with their labels where they have any.

    Raises BuildError, beginning with the name of the method, for too few rows, and for NaN or infinity.
    """
    if len(dataset) < FEWEST_ROWS:
        raise BuildError(
            f"{method}: it looks at {FEWEST_ROWS} rows or more, and its split has {len(dataset)}. Give the job a train split"
            " (splits: train = 0.3)."
        )
    drawn = np.sort(np.random.default_rng(seed).permutation(len(dataset))[:most])
    taken = dataset.take(drawn)
    (rows,) = pipelines.collate(source, pipelines.encode(source, taken.requests)).values()
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0]
        raise BuildError(f"{method}: column {column} of item {drawn[row]} holds NaN or infinity. Remove such items.")
    return rows, taken.labels


def answers(model: Any, rows: Array) -> Array:
    """What the model answers to `rows`. Raises ModelError as `sklearn_form.ask` does."""
    return sklearn_form.ask(model, {"X": rows})[0]


def derive(model: Any, source: Pipeline, directory: Path, traits: frozenset[str], method: str) -> Pipeline:
    """The pipeline of `model` in a new folder. Raises BuildError where it would answer in another shape than `source`."""
    directory.mkdir(parents=True, exist_ok=True)
    made = sklearn_form.snapshot(model, directory)
    told, was = [[(spec.dtype, spec.shape) for spec in p.outputs] for p in (made, source)]
    if told != was or made.inputs != source.inputs:
        raise BuildError(f"{method}: {type(final(model)).__name__} would answer {told}, the original answers {was}")
    assert source.pickled or not made.pickled, f"{method} brought in types of other packages"
    return pipelines.derive(source, directory, form=source.form, file=made.file, traits=traits, pickled=made.pickled)
