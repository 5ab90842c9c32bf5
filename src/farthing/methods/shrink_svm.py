"""Method: a kernel machine with fewer support vectors, chosen and weighted anew so that it answers as all of them did."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from farthing.errors import BuildError
from farthing.methods.base import Family, Method, too_little_to_learn
from farthing.results import Profile
from farthing.types import Array, Context, Pipeline

KERNELS = ("rbf", "linear", "poly", "sigmoid")
MOST_ROWS, MOST_CANDIDATES = 4096, 4096
SMOOTHNESS = 1e-5  # lambda
NOTHING = 1e-9  # of a function's variance that the best vector would explain: then there is nothing left to add
CALLS = 0.03  # of a kernel machine's time that does not depend on its vectors: 4,000 of them, one request, 2026-11


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrinkSvm(Method):
    """f(x) = sum_i a_i k(z_i, x) + b becomes g(x) = sum over i in S of c_i k(z_i, x) + b', with |S| = keep * (number of z).

    c, b' = argmin of mean (f - g)^2 + lambda c' K_SS c over the train split and the support vectors themselves, the squared
    norm of g in the kernel's own space being what keeps it smooth (a reduced set: Burges, ICML 1996). S grows greedily: next
    comes the vector that explains most of what is left, its part along the chosen ones taken off (orthogonal matching
    pursuit: Vincent and Bengio, Machine Learning 48, 2002). With several classes each pair has its own f, which may use the
    vectors of its two classes only, so one vector serves several pairs and is chosen for all of them together.
    keep: between 0 and 1. Fewer stay where fewer say it all, as with a linear kernel.
    """

    keep: float = 0.1

    consumes: ClassVar[frozenset[str]] = frozenset({"sklearn"})
    adds: ClassVar[frozenset[str]] = frozenset({"reduced"})
    family: ClassVar[Family] = "structure"

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        if not 0.0 < self.keep < 1.0:
            raise BuildError(f"shrink_svm: it keeps a share of the support vectors between 0 and 1, not {self.keep:g}")
        from farthing.forms import sklearn_form, sklearn_parts

        model = sklearn_form.load(source)
        machine = sklearn_parts.final(model)
        _check_is_kernel_machine(machine)
        num_kept = max(1, round(self.keep * len(machine.support_)))
        if num_kept == len(machine.support_):
            raise BuildError(f"shrink_svm: {self.keep:g} of {num_kept} support vectors is all of them. Lower keep.")
        rows, _ = sklearn_parts.rows_of(context.train, source, "shrink_svm", most=MOST_ROWS, seed=context.seed)
        _reduce(machine, np.asarray(sklearn_parts.before_final(model, rows), np.float64), num_kept, context.seed)
        return sklearn_parts.derive(model, source, directory, source.traits - self.drops | self.adds, "shrink_svm")

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        from farthing.forms import sklearn_parts

        unfit = sklearn_parts.known_network(profile) or too_little_to_learn(profile)
        return unfit or (cls(keep=0.25), cls(keep=0.1), cls(keep=0.05))

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0 / (CALLS + (1.0 - CALLS) * self.keep)


@dataclass(kw_only=True)
class _Function:
    """One f, and how much of it the chosen vectors explain: a Cholesky factor of their Gram matrix, a column a vector."""

    classes: tuple[int, int]
    members: Array  # (m,) candidates that it may use
    left: Array  # (m,) inner products of the candidates, their parts along the chosen ones taken off, with what is left of f
    norms: Array  # (m,) their squared lengths
    factor: Array  # (m, chosen)

    def gains(self) -> Array:
        """(m,) the share of f's variance that each candidate would explain."""
        seen = self.norms > NOTHING
        return np.where(seen, self.left**2 / np.where(seen, self.norms, 1.0), 0.0)

    def add(self, candidate: int, products: Array) -> None:
        """`products`: (m,) inner products of the members with the candidate."""
        place = int(np.searchsorted(self.members, candidate))
        if self.norms[place] <= NOTHING:
            return
        column = (products - self.factor @ self.factor[place]) / np.sqrt(self.norms[place])
        self.left = self.left - column * self.left[place] / np.sqrt(self.norms[place])
        self.norms = self.norms - column**2
        self.norms[place] = 0.0
        self.factor = np.column_stack([self.factor, column])


def _check_is_kernel_machine(machine: Any) -> None:
    from sklearn.svm import SVC, SVR, NuSVC, NuSVR

    name = type(machine).__name__
    if not isinstance(machine, SVC | NuSVC | SVR | NuSVR):
        raise BuildError(f"shrink_svm: {name} has no support vectors: it treats SVC, NuSVC, SVR and NuSVR")
    if machine.kernel not in KERNELS:
        raise BuildError(f"shrink_svm: the kernel {machine.kernel!r} of {name} is none of {', '.join(KERNELS)}")
    if not isinstance(machine.support_vectors_, np.ndarray):
        raise BuildError(f"shrink_svm: the support vectors of {name} are sparse, and the chosen ones would be as slow dense")


def _reduce(machine: Any, rows_NI: Array, num_kept: int, seed: int) -> None:
    """Replace the vectors and coefficients of `machine`, which the caller owns."""
    drawn = np.sort(np.random.default_rng(seed).permutation(len(machine.support_))[:MOST_CANDIDATES])
    vectors_MI, groups_M = machine.support_vectors_[drawn], _groups(machine)[drawn]
    shown_RI = np.concatenate([rows_NI, vectors_MI])
    kernel_RM, values_RF = _kernel(machine, shown_RI, vectors_MI), _functions(machine, shown_RI)
    means_M, means_F = kernel_RM.mean(axis=0), values_RF.mean(axis=0)
    centred_RM = kernel_RM - means_M
    gram_MM = centred_RM.T @ centred_RM / len(shown_RI)
    towards_MF = centred_RM.T @ (values_RF - means_F) / len(shown_RI)
    pairs = _pairs(machine)
    chosen = _pursue(gram_MM, towards_MF / np.maximum(values_RF.std(axis=0), NOTHING), pairs, groups_M, num_kept)
    smooth_MM = gram_MM + SMOOTHNESS * _kernel(machine, vectors_MI, vectors_MI)
    dual = np.zeros((len(machine.dual_coef_), len(chosen)))
    intercepts = means_F.copy()
    for number, (first, second) in enumerate(pairs):
        used = chosen[np.isin(groups_M[chosen], (first, second))]
        weights = np.linalg.lstsq(smooth_MM[np.ix_(used, used)], towards_MF[used, number], rcond=None)[0]
        intercepts[number] -= means_M[used] @ weights
        of_first = groups_M[chosen] == first
        dual[max(second - 1, 0), of_first] = weights[groups_M[used] == first]
        dual[first, groups_M[chosen] == second] = weights[groups_M[used] == second]
    counts = np.bincount(groups_M[chosen], minlength=len(machine._n_support))
    _set(machine, drawn[chosen], counts.astype(np.int32), dual, intercepts)


def _set(machine: Any, kept: Array, counts: Array, dual: Array, intercepts: Array) -> None:
    """libsvm's functions of two classes have the other sign than scikit-learn's own, which keeps both."""
    sign = -1.0 if _is_binary(machine) else 1.0
    machine.support_, machine.support_vectors_ = machine.support_[kept], machine.support_vectors_[kept]
    machine._n_support = counts
    machine.dual_coef_, machine.intercept_ = dual, intercepts
    machine._dual_coef_, machine._intercept_ = sign * dual, sign * intercepts


def _pursue(gram_MM: Array, towards_MF: Array, pairs: Sequence[tuple[int, int]], groups_M: Array, num_kept: int) -> Array:
    """Sorted candidates, so that those of one class stand together, as libsvm wants them."""
    functions = []
    for number, classes in enumerate(pairs):
        members = np.flatnonzero(np.isin(groups_M, classes))
        functions.append(
            _Function(
                classes=classes,
                members=members,
                left=towards_MF[members, number],
                norms=gram_MM.diagonal()[members].copy(),
                factor=np.zeros((len(members), 0)),
            )
        )
    chosen: list[int] = []
    while len(chosen) < num_kept:
        gains_M = np.zeros(len(gram_MM))
        for function in functions:
            gains_M[function.members] += function.gains()
        gains_M[chosen] = -1.0
        best = int(gains_M.argmax())
        if gains_M[best] <= NOTHING:
            break
        chosen.append(best)
        for function in functions:
            if groups_M[best] in function.classes:
                function.add(best, gram_MM[function.members, best])
    return np.sort(np.array(chosen, np.int64))


def _is_binary(machine: Any) -> bool:
    return len(getattr(machine, "classes_", ())) == 2


def _groups(machine: Any) -> Array:
    """(vectors,) the class of each; 0 for a regressor, whose vectors have none."""
    return np.repeat(np.arange(len(machine.n_support_)), machine.n_support_)


def _pairs(machine: Any) -> list[tuple[int, int]]:
    """The two classes of each function, in libsvm's order; (0, 0) for a regressor's only one."""
    return list(itertools.combinations(range(len(machine.classes_)), 2)) if hasattr(machine, "classes_") else [(0, 0)]


def _functions(machine: Any, rows: Array) -> Array:
    """(rows, functions) f, before any vote."""
    if not hasattr(machine, "classes_"):
        return np.asarray(machine.predict(rows))[:, None]
    shape = machine.decision_function_shape
    values = np.asarray(machine.set_params(decision_function_shape="ovo").decision_function(rows))
    machine.set_params(decision_function_shape=shape)
    return values.reshape(len(rows), -1)


def _kernel(machine: Any, left: Array, right: Array) -> Array:
    from sklearn.metrics.pairwise import pairwise_kernels

    settings = {"gamma": machine._gamma, "degree": machine.degree, "coef0": machine.coef0}
    return np.asarray(pairwise_kernels(left, right, metric=machine.kernel, filter_params=True, **settings))
