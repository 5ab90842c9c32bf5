"""Method: fewer trees: of a forest those that together answer most like all of it, of a boosting its first stages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from farthing.errors import BuildError
from farthing.methods.base import Family, Method
from farthing.results import Profile
from farthing.types import Array, Context, Pipeline

MOST_ROWS = 4000
MOST_VALUES = 2e7  # trees x rows x classes that are held at once
CALLS = 0.1  # of a forest's time that does not depend on how many trees it has: scikit-learn, one request, 2026-11


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinForest(Method):
    """Forests: greedily, each time the tree t that minimizes || (sum of the chosen p_s + p_t) / k - p ||^2, p_t what tree t
    answers to the rows and p what the whole forest answers.

    Forward selection (Caruana et al., ICML 2004) in the manner of ordered bagging (Martinez-Munoz and Suarez, ICML 2006), but
    towards the forest's own answers, so that it needs no labels: towards labels it chose no better. Rows come from the train
    split, or from calibrate where there is none. Boostings (gradient, histogram, AdaBoost): the first stages, since each
    mends what those before it left. Nothing is fitted again.
    keep: the share of the trees, or of the stages, that stays; between 0 and 1.
    """

    keep: float = 0.25

    consumes: ClassVar[frozenset[str]] = frozenset({"sklearn"})
    adds: ClassVar[frozenset[str]] = frozenset({"thinned"})
    family: ClassVar[Family] = "structure"

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        if not 0.0 < self.keep < 1.0:
            raise BuildError(f"thin_forest: it keeps a share of the trees between 0 and 1, not {self.keep:g}")
        from farthing.forms import sklearn_form, sklearn_parts

        model = sklearn_form.load(source)
        estimator = sklearn_parts.final(model)
        num_kept = self._num_kept(_num_members(estimator), type(estimator).__name__)
        if _is_forest(estimator):
            split = context.train if len(context.train) else context.calibrate
            rows, _ = sklearn_parts.rows_of(split, source, "thin_forest", most=MOST_ROWS, seed=context.seed)
            estimator.estimators_ = _chosen(estimator, sklearn_parts.before_final(model, rows), num_kept)
            estimator.n_estimators = num_kept
        else:
            _shorten(estimator, num_kept)
        return sklearn_parts.derive(model, source, directory, source.traits - self.drops | self.adds, "thin_forest")

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        from farthing.forms import sklearn_parts

        return sklearn_parts.known_network(profile) or (cls(keep=0.5), cls(keep=0.25), cls(keep=0.1))

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0 / (CALLS + (1.0 - CALLS) * self.keep)

    def _num_kept(self, num_members: int, name: str) -> int:
        num_kept = max(1, round(self.keep * num_members))
        if num_kept == num_members:
            raise BuildError(
                f"thin_forest: {self.keep:g} of the {num_members} trees or stages of {name} is all of them. Lower keep."
            )
        return num_kept


def _is_forest(estimator: Any) -> bool:
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor

    return isinstance(estimator, ExtraTreesClassifier | ExtraTreesRegressor | RandomForestClassifier | RandomForestRegressor)


def _num_members(estimator: Any) -> int:
    """Trees of a forest, stages of a boosting. Raises BuildError for anything else."""
    from sklearn.ensemble import AdaBoostClassifier, AdaBoostRegressor, GradientBoostingClassifier, GradientBoostingRegressor

    if hasattr(estimator, "_predictors"):
        return len(estimator._predictors)
    boostings = GradientBoostingClassifier | GradientBoostingRegressor | AdaBoostClassifier | AdaBoostRegressor
    if not (_is_forest(estimator) or isinstance(estimator, boostings)):
        raise BuildError(f"thin_forest: {type(estimator).__name__} is no random forest, extra trees, or boosting of trees")
    if getattr(estimator, "n_outputs_", 1) > 1:
        raise BuildError(f"thin_forest: {type(estimator).__name__} answers {estimator.n_outputs_} questions at once")
    return len(estimator.estimators_)


def _chosen(forest: Any, shown: Any, num_kept: int) -> list[Any]:
    """The trees that are kept, the most useful first, so that a forest cut shorter still is another of these."""
    width = len(getattr(forest, "classes_", "1"))
    shown = shown[: max(1, int(MOST_VALUES / (len(forest.estimators_) * width)))]
    answers_TNC = np.stack([_asked(tree, shown) for tree in forest.estimators_])
    return [forest.estimators_[i] for i in _order(answers_TNC, num_kept)]


def _asked(tree: Any, shown: Any) -> Array:
    values = tree.predict_proba(shown) if hasattr(tree, "predict_proba") else tree.predict(shown)
    return np.asarray(values, np.float64).ravel()


def _order(answers_TV: Array, num_kept: int) -> list[int]:
    """Greedy least squares by inner products alone, S the sum of the chosen:

    ||(S + p_t) / k - p||^2 = (S.S + 2 S.p_t + p_t.p_t) / k^2 - 2 (S + p_t).p / k + p.p
    """
    gram_TT = answers_TV @ answers_TV.T
    towards_T = gram_TT.mean(axis=1)  # p_t . p
    with_sum_T, sum_squared, sum_towards = np.zeros(len(gram_TT)), 0.0, 0.0  # S . p_t, S . S, S . p
    chosen: list[int] = []
    for k in range(1, num_kept + 1):
        squared_T = sum_squared + 2.0 * with_sum_T + gram_TT.diagonal()
        distance_T = squared_T / k**2 - 2.0 * (sum_towards + towards_T) / k
        distance_T[chosen] = np.inf
        best = int(distance_T.argmin())
        chosen.append(best)
        sum_squared, sum_towards = float(squared_T[best]), sum_towards + float(towards_T[best])
        with_sum_T = with_sum_T + gram_TT[best]
    return chosen


def _shorten(boosting: Any, num_kept: int) -> None:
    """The first stages of a boosting, which the caller owns, and what it keeps of each."""
    if hasattr(boosting, "_predictors"):
        boosting._predictors = boosting._predictors[:num_kept]
        boosting.max_iter = num_kept
        return
    for name in ("estimators_", "estimator_weights_", "estimator_errors_", "train_score_", "oob_improvement_", "oob_scores_"):
        if hasattr(boosting, name):
            setattr(boosting, name, getattr(boosting, name)[:num_kept])
    boosting.n_estimators = num_kept
    if hasattr(boosting, "n_estimators_"):
        boosting.n_estimators_ = num_kept
