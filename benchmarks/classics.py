"""Methods for scikit-learn on Adult: cost and accuracy of each against the untouched estimator, both on ONNX Runtime.

FARTHING_DATA=... python benchmarks/classics.py [--rounds 15] [--rows 8000]: writes results/classics.json.
"""

import argparse
import csv
import json
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from farthing.certification.bounds import bounds
from farthing.certification.questions import questions
from farthing.conversions.sklearn_to_onnx import SklearnToOnnx
from farthing.errors import BuildError
from farthing.forms import sklearn_form
from farthing.methods.prune_tree import PruneTree
from farthing.methods.select_features import SelectFeatures
from farthing.methods.shrink_svm import ShrinkSvm
from farthing.methods.thin_forest import ThinForest
from farthing.pipeline import feeds_of
from farthing.results import Evidence
from farthing.runtimes.onnxruntime import OnnxRuntime
from farthing.types import Context, Dataset, Floor

BATCHES = (1, 256)
LEAST_S = 0.02  # of one timing
ALPHA = 0.05
HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rows", type=int, default=8000, help="of the training set; a kernel machine takes half of them")
    asked = parser.parse_args()
    train, test = adult("train"), adult("test")
    drawn = np.random.default_rng(0).permutation(len(train[0]))[: asked.rows]
    fitted, held_back = drawn[: asked.rows // 2], drawn[asked.rows // 2 :]
    context = Context(calibration=(), threads=1, train=Dataset(columns=(train[0][held_back],), labels=train[1][held_back]))
    results: list[dict[str, Any]] = []
    for name, model in estimators().items():
        model.fit(train[0][fitted], train[1][fitted])
        results += of_one(name, model, context, test, asked.rounds)
        (HERE / "results" / "classics.json").write_text(json.dumps({"arguments": vars(asked), "rows": results}, indent=1))


def estimators() -> dict[str, Any]:
    return {
        "logistic": LogisticRegression(max_iter=1000),
        "forest": RandomForestClassifier(100, min_samples_leaf=2, random_state=0, n_jobs=1),
        "boosting": GradientBoostingClassifier(n_estimators=100, random_state=0),
        "svm": SVC(),
    }


def ways() -> dict[str, list[Any]]:
    selected = [SelectFeatures(keep=keep) for keep in (0.5, 0.25)]
    thinned = [ThinForest(keep=keep) for keep in (0.5, 0.25)]
    pruned = [PruneTree(keep=keep) for keep in (0.25,)]
    return {
        "logistic": selected,
        "forest": [*selected, *thinned, *pruned],
        "boosting": [*selected, *thinned, *pruned],
        "svm": [*selected, *(ShrinkSvm(keep=keep) for keep in (0.25, 0.1))],
    }


def of_one(name: str, model: Any, context: Context, test: tuple[Any, Any], rounds: int) -> list[dict[str, Any]]:
    """Rows of the untouched estimator and of each method; their timings take turns."""
    with TemporaryDirectory() as scratch:
        place = Path(scratch)
        (place / "source").mkdir()
        source = sklearn_form.snapshot(model, place / "source")
        feeds = tuple(feeds_of(source, context.train.requests[:24], 2))
        built: dict[str, Any] = {"untouched": source}
        refused = []
        for method in ways()[name]:
            try:
                built[str(method)] = method.apply(source, place / f"built{len(built)}", context)
            except BuildError as error:
                refused.append({"estimator": name, "method": str(method), "refused": str(error)})
        opened, rows = {}, {}
        for number, (label, pipeline) in enumerate(built.items()):
            graph = SklearnToOnnx().convert(pipeline, place / f"onnx{number}", Context(calibration=feeds))
            opened[label] = OnnxRuntime().open(graph, threads=1, streams=1)
            answers = opened[label].run({"X": test[0]})[0]
            rows[label] = {"estimator": name, "method": label, "bytes": graph.path.stat().st_size, "answers": answers}
        seconds = timed(opened, test[0], rounds)
        before = rows["untouched"].pop("answers")
        rows["untouched"]["accuracy"] = float((before.argmax(1) == test[1]).mean())
        for label, row in rows.items():
            for size in BATCHES:
                ratios = seconds[label, size] / seconds["untouched", size]
                row[f"us_per_item_{size}"] = float(np.median(seconds[label, size]) / size * 1e6)
                row[f"ratio_{size}"] = [float(q) for q in np.quantile(ratios, (0.5, 0.1, 0.9))]
            if label != "untouched":
                row |= judged(before, row.pop("answers"), test[1])
            print(row, flush=True)
        return [*rows.values(), *refused]


def timed(opened: dict[str, Any], inputs: Any, rounds: int) -> dict[tuple[str, int], Any]:
    """(label, batch size) -> (rounds,) seconds of one batch."""
    seconds: dict[tuple[str, int], list[float]] = {(label, size): [] for label in opened for size in BATCHES}
    for _ in range(rounds + 1):
        for size in BATCHES:
            for label, session in opened.items():
                began, calls = time.process_time(), 0
                while time.process_time() - began < LEAST_S:
                    start = calls * size % (len(inputs) - size)
                    session.run({"X": inputs[start : start + size]})
                    calls += 1
                seconds[label, size].append((time.process_time() - began) / calls)
    return {key: np.array(values[1:]) for key, values in seconds.items()}


def judged(before: Any, after: Any, labels: Any) -> dict[str, Any]:
    """Accuracy, and its drop with the one-sided bounds of a certificate at 95%."""
    evidence = Evidence(original=before, candidate=after, labels=labels, slices={})
    (question, *_) = questions(evidence, Floor(metric="accuracy", max_drop=0.01))
    low, high = bounds(question, ALPHA, 0).at(len(question))
    return {"accuracy": question.candidate_value, "drop": question.drop, "drop_low": low, "drop_high": high}


def adult(part: str) -> tuple[Any, Any]:
    """(n, features) float32: numbers standardized, categories one-hot, as fitted on the training set; income above 50,000."""
    folder = Path(os.environ["FARTHING_DATA"]) / "adult"
    tables = {name: list(csv.reader((folder / f"adult-{name}.csv").open())) for name in ("train", "test")}
    table = {
        name: np.array([[cell.strip() for cell in row] for row in rows if len(row) == 15]) for name, rows in tables.items()
    }
    numbers = [0, 2, 4, 10, 11, 12]
    others = [j for j in range(14) if j not in numbers]
    encoder = ColumnTransformer(
        [
            ("number", StandardScaler(), numbers),
            ("category", OneHotEncoder(handle_unknown="ignore", sparse_output=False), others),
        ]
    )
    encoder.fit(table["train"][:, :14])
    labels = np.array([cell.startswith(">50K") for cell in table[part][:, 14]]).astype(np.int64)
    return encoder.transform(table[part][:, :14]).astype(np.float32), labels


if __name__ == "__main__":
    main()
