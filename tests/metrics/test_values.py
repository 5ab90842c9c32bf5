"""Values against scikit-learn and SciPy, and what each metric refuses."""

import numpy as np
import pytest

from farthing.errors import DataError, JobError
from farthing.metrics import metric_of
from farthing.types import Array

DRAW = np.random.default_rng(0)
N = 200
SCORES = DRAW.standard_normal((N, 4))
CLASSES = np.where(DRAW.random(N) < 0.5, SCORES.argmax(axis=1), DRAW.integers(0, 4, N))
NUMBER = np.round(DRAW.standard_normal(N), 1)  # with ties
BINARY = (NUMBER + DRAW.standard_normal(N) > 0).astype(int)
NEAR = SCORES + 0.3 * DRAW.standard_normal((N, 4))


def value(name: str, predictions: Array, target: Array) -> float:
    return metric_of(name).value(np.asarray(predictions), np.asarray(target))


def softmax(logits: Array) -> Array:
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_classification_equals_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, f1_score

    answers = SCORES.argmax(axis=1)
    assert value("accuracy", SCORES, CLASSES) == pytest.approx(accuracy_score(CLASSES, answers))
    assert value("accuracy", answers, CLASSES) == pytest.approx(accuracy_score(CLASSES, answers))
    assert value("macro_f1", SCORES, CLASSES) == pytest.approx(f1_score(CLASSES, answers, average="macro"))
    assert value("macro_f1@0", NUMBER[:, None] + 0.05, BINARY) == pytest.approx(
        f1_score(BINARY, NUMBER > -0.05, average="macro")
    )


def test_auc_equals_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    two = np.stack([-NUMBER, NUMBER], axis=1)
    assert value("roc_auc", NUMBER, BINARY) == pytest.approx(roc_auc_score(BINARY, NUMBER))
    assert value("roc_auc", two, BINARY) == pytest.approx(roc_auc_score(BINARY, NUMBER))
    shares = softmax(SCORES)
    assert value("roc_auc", shares, CLASSES) == pytest.approx(roc_auc_score(CLASSES, shares, multi_class="ovr"))


def test_ranks_and_errors_equal_scipy_and_scikit_learn() -> None:
    from scipy.stats import entropy, spearmanr
    from sklearn.metrics import ndcg_score, root_mean_squared_error

    target = np.round(NUMBER + 0.5 * DRAW.standard_normal(N), 1)
    assert value("spearman", NUMBER, target) == pytest.approx(spearmanr(NUMBER, target).statistic)
    assert value("spearman", NUMBER[:, None], target) == pytest.approx(spearmanr(NUMBER, target).statistic)
    assert value("rmse", NUMBER, target) == pytest.approx(-root_mean_squared_error(target, NUMBER))
    gains = DRAW.integers(0, 3, (N, 4))
    gains[:, 0] += 1  # scikit-learn leaves queries without any gain undefined
    assert value("ndcg@2", SCORES, gains) == pytest.approx(ndcg_score(gains, SCORES, k=2))
    divergence = entropy(softmax(SCORES), softmax(NEAR), axis=1).mean()
    assert value("kl", NEAR, SCORES) == pytest.approx(-divergence)
    assert value("kl@probabilities", softmax(NEAR), softmax(SCORES)) == pytest.approx(-divergence)


def test_ndcg_of_one_relevant_document() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    expected = np.mean([1.0, 1 / np.log2(3), 0.0])  # ranked first, second, and third, which k = 2 does not see
    assert value("ndcg@2", scores, np.array([0, 1, 2])) == pytest.approx(expected)
    assert value("ndcg", scores, np.zeros((3, 3))) == 1.0  # nothing to find: no order is wrong


def test_cosine_by_hand() -> None:
    original = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0], [1.0, 1.0]])
    candidate = np.array([[2.0, 0.0], [0.0, -1.0], [0.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(metric_of("cosine").scores(candidate, original), [1.0, -1.0, 1.0, 0.0])


def test_a_score_is_class_one_above_the_threshold() -> None:
    assert value("accuracy", np.array([0.2, 0.7, 0.9]), np.array([0, 1, 0])) == pytest.approx(2 / 3)
    assert value("accuracy@0.8", np.array([0.2, 0.7, 0.9]), np.array([0, 1, 0])) == pytest.approx(1 / 3)
    assert value("argmax_agreement@0", np.array([-1.5, 0.5, 0.1]), np.array([-0.1, 2.5, -3.0])) == pytest.approx(2 / 3)


def test_words_are_labels_of_words() -> None:
    assert value("accuracy", np.array(["cat", "dog"]), np.array(["cat", "cat"])) == 0.5


@pytest.mark.parametrize(
    ("name", "predictions", "target", "message"),
    [
        ("accuracy", SCORES, CLASSES + 1, "labels run from 1 to 4, the model's classes from 0 to 3"),
        ("accuracy", SCORES, CLASSES.astype(str), "labels are words"),
        ("accuracy", SCORES, SCORES, "one class per item"),
        ("accuracy", SCORES[:, :, None], CLASSES, "no class scores"),
        ("macro_f1", SCORES, np.ones(N, dtype=int), "undefined on one class: all 200 labels are"),
        ("roc_auc", NUMBER, np.ones(N, dtype=int), "undefined on one class: all 200 labels are"),
        ("roc_auc", NUMBER, CLASSES, "4 classes of labels, but the model scores only two"),
        ("roc_auc", SCORES, BINARY, "only 2 of the model's 4 classes occur"),
        ("spearman", NUMBER, np.full(N, 2.5), "all 200 labels are 2.5"),
        ("spearman", SCORES, NUMBER, "one number per item"),
        ("rmse", SCORES, NUMBER, "compares answers of shape"),
        ("ndcg", SCORES, np.ones((N, 3)), "one gain >= 0 per document"),
        ("ndcg", NUMBER, CLASSES, "a score for each document"),
        ("cosine", NUMBER, NUMBER, "compares vectors"),
        ("kl@probabilities", SCORES, SCORES, "no distribution over classes"),
    ],
)
def test_refusals_say_what_is_wrong(name: str, predictions: Array, target: Array, message: str) -> None:
    with pytest.raises(DataError, match=message):
        value(name, predictions, target)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acuracy", "Did you mean 'accuracy'"),
        ("ndgc@10", "Did you mean 'ndcg'"),
        ("ndcg@ten", "behind the @ stands k .int., not 'ten'"),
        ("ndcg@0", "must be at least 1"),
        ("topk_overlap@0", "must be at least 1"),
        ("kl@softmax", "'logits' or 'probabilities'"),
        ("cosine@3", "nothing may stand behind an @"),
        ("function", "as package.module:function"),
        ("no.such.module:f", "no module"),
    ],
)
def test_misnamed_metrics(name: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        metric = metric_of(name)
        metric.value(NUMBER, NUMBER)


def test_the_value_behind_the_at_is_the_first_knob() -> None:
    assert metric_of("ndcg@3").k == 3  # type: ignore[attr-defined]
    assert metric_of("accuracy@0").threshold == 0.0  # type: ignore[attr-defined]
