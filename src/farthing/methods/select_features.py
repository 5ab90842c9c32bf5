"""Method: a fitted estimator no longer looks at the features that its answers hardly depend on."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from farthing.errors import BuildError
from farthing.methods.base import Family, Method
from farthing.results import Profile
from farthing.types import Array, Context, Pipeline

MOST_ROWS = 512  # each feature is held in turn for all of them
ALIKE = 1e-4  # of the largest answer: what a rebuilt estimator may differ from the whole one with the features held
CALLS = 0.8  # of an estimator's time that does not depend on its features


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectFeatures(Method):
    """f'(x) = f(x with x_j = m_j for every j that is dropped), m_j the median of feature j (its mean for linear models).

    Dropped are those of the least mean || f(x) - f(x with x_j = m_j) ||^2 over the rows: permutation importance (Breiman 2001)
    with a constant in the place of another row's value, which is what is done to the feature afterwards, and with the
    estimator's own answers in the place of labels. Nothing is fitted again, and the rebuilt estimator is f' exactly: a linear
    model takes m_j w_j into its intercept and reads fewer columns; a split of a tree on j goes one way for ever, so that branch
    stands in its place. Rows come from the train split, or from calibrate where there is none.
    keep: the share that stays of the features that it looks at; between 0 and 1. The others go at no loss.
    """

    keep: float = 0.5

    consumes: ClassVar[frozenset[str]] = frozenset({"sklearn"})
    adds: ClassVar[frozenset[str]] = frozenset({"selected"})
    family: ClassVar[Family] = "structure"

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        if not 0.0 < self.keep < 1.0:
            raise BuildError(f"select_features: it keeps a share of the features between 0 and 1, not {self.keep:g}")
        from farthing.forms import sklearn_features, sklearn_form, sklearn_parts

        model = sklearn_form.load(source)
        estimator = sklearn_parts.final(model)
        kind = type(estimator).__name__
        if not (sklearn_features.is_linear(estimator) or sklearn_features.has_trees(estimator)):
            raise BuildError(
                f"select_features: {kind} is no linear model and has no decision trees: it cannot do without features"
            )
        split = context.train if len(context.train) else context.calibrate
        rows, _ = sklearn_parts.rows_of(split, source, "select_features", most=MOST_ROWS, seed=context.seed)
        shown = np.asarray(_dense(sklearn_parts.before_final(model, rows), kind), np.float32)
        held = self._held(estimator, shown)
        try:
            rebuilt = sklearn_features.hold(copy.deepcopy(estimator), held)
        except BuildError as error:
            raise BuildError(f"select_features: {kind}: {error}") from error
        _check_exact(rebuilt, estimator, shown, held)
        model = _joined(model, rebuilt)
        return sklearn_parts.derive(model, source, directory, source.traits - self.drops | self.adds, "select_features")

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        from farthing.forms import sklearn_parts

        return sklearn_parts.known_network(profile) or (cls(keep=0.5), cls(keep=0.25))

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0 / (CALLS + (1.0 - CALLS) * self.keep)

    def _held(self, estimator: Any, shown_NF: Array) -> dict[int, float]:
        """Feature -> value, of those that are dropped: what is never looked at first, then by importance."""
        from farthing.forms import sklearn_features

        num_features = shown_NF.shape[1]
        used = sklearn_features.used(estimator, num_features)
        num_kept = max(1, round(self.keep * int(used.sum())))
        if num_kept >= used.sum():
            raise BuildError(
                f"select_features: {self.keep:g} of the {used.sum()} features that {type(estimator).__name__} looks at is all"
                " of them. Lower keep."
            )
        middle = np.mean if sklearn_features.is_linear(estimator) else np.median
        values = middle(shown_NF, axis=0)
        importance = _importance(estimator, shown_NF, values, used)
        dropped = np.argsort(importance, kind="stable")[: num_features - num_kept]
        return {int(j): float(values[j]) for j in dropped}


def _joined(model: Any, rebuilt: Any) -> Any:
    """One list of steps: the converter takes its options for the outer one alone."""
    from sklearn.pipeline import Pipeline as Steps

    from farthing.forms import sklearn_parts

    if isinstance(model, Steps) and isinstance(rebuilt, Steps):
        return Steps([*model.steps[:-1], *rebuilt.steps])
    return sklearn_parts.with_final(model, rebuilt)


def _importance(estimator: Any, shown_NF: Array, values: Array, used: Array) -> Array:
    """(features,) mean squared change of the answers; below 0 for what is never looked at."""
    from farthing.forms import sklearn_parts

    before = sklearn_parts.answers(estimator, shown_NF)
    importance = np.full(shown_NF.shape[1], -1.0)
    for j in np.flatnonzero(used):
        changed = shown_NF.copy()
        changed[:, j] = values[j]
        importance[j] = np.square(sklearn_parts.answers(estimator, changed) - before).mean()
    return importance


def _check_exact(rebuilt: Any, estimator: Any, shown_NF: Array, held: dict[int, float]) -> None:
    """Raises BuildError where an estimator reads something besides its weights, or its trees."""
    from farthing.forms import sklearn_parts

    fixed = shown_NF.copy()
    for j, value in held.items():
        fixed[:, j] = value
    wanted, got = sklearn_parts.answers(estimator, fixed), sklearn_parts.answers(rebuilt, shown_NF)
    apart = float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-12))
    if not apart <= ALIKE:
        raise BuildError(
            f"select_features: {type(estimator).__name__} without {len(held)} features does not answer as it does with them"
            f" held ({apart:.1g} of the largest answer): it computes with more than its weights or trees"
        )


def _dense(shown: Any, kind: str) -> Any:
    if hasattr(shown, "toarray"):
        raise BuildError(f"select_features: what comes before {kind} makes sparse rows; zeros in them cost nothing already")
    return shown
