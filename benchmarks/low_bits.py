"""Weights in few bits, rounded and learned: error against bytes on disk, on MNIST (an MLP) and Fashion-MNIST (a small CNN).

    FARTHING_DATA=... python benchmarks/low_bits.py [mnist] [fashion]

The MLP is LeNet-300-100. For each seed: train in float32, hold out 6,000 items of the training set for choices, calibrate on
512 of the rest, apply each method to the same float model, and look at the test set once for each. The learning rate of `qat`
is chosen for each setting with the first seed of MNIST, on the held-out items. Bytes are those of the pickled module on disk:
codes, scales, offsets, tables, biases, norms and the module itself. Raw rows go to results/low_bits.json (seeds that are there
are not run again), the table to results/low_bits.md.
"""

import contextlib
import gzip
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from farthing import plugins
from farthing.forms import torch_form
from farthing.methods.base import Method
from farthing.training import Schedule, fit
from farthing.types import Context, Dataset, Pipeline, TensorSpec

RESULTS = Path(__file__).parent / "results" / "low_bits.json"
SEEDS = {"mnist": (0, 1, 2, 3, 4), "fashion": (0, 1, 2)}
FOLDERS = {"mnist": "mnist", "fashion": "fashion-mnist"}
NUM_VALIDATION, NUM_CALIBRATE = 6000, 512
RATES = (1e-3, 3e-3)  # of qat, to choose from
QAT = {"mnist": {"epochs": 5}, "fashion": {}}  # the other knobs at their defaults
FLOAT_EPOCHS = {"mnist": 8, "fashion": 3}


def rounding() -> Iterator[tuple[str, dict[str, Any]]]:
    """(member, knobs) of what needs no training."""
    for bits in (8, 4, 3, 2):
        for way in ("min_max", "percentile", "mse", "kl"):
            yield "linear_bits", {"bits": bits, "range": way}
    for bits in (4, 3, 2):
        yield "linear_bits", {"bits": bits, "symmetric": False, "granularity": "group"}
    yield "linear_bits", {"bits": 4, "granularity": "tensor"}
    for bits in (5, 4, 3, 2):
        yield "power_of_two", {"bits": bits}
    yield "ternary", {}
    yield "binary", {}
    for bits in (4.0, 3.0, 2.5):
        yield "mixed_bits", {"average_bits": bits}


LEARNING = (
    {"grid": "linear", "bits": 4}, {"grid": "linear", "bits": 3}, {"grid": "linear", "bits": 2},
    {"grid": "power_of_two", "bits": 4}, {"grid": "power_of_two", "bits": 3}, {"grid": "ternary"}, {"grid": "binary"},
)  # fmt: skip


def network(task: str) -> nn.Module:
    if task == "mnist":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    widths, parts = (1, 8, 16, 32), list[nn.Module]()
    for i, o in pairwise(widths):
        parts += [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(32 * 9, 10))


def data(task: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """((n, 1, 28, 28) float32 of 0 to 1, (n,) int64)"""
    folder = Path(os.environ["FARTHING_DATA"]) / FOLDERS[task]
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return (images / 255).astype(np.float32), labels.astype(np.int64)


def trained(task: str, images: np.ndarray, labels: np.ndarray, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    module, x, y = network(task), torch.from_numpy(images), torch.from_numpy(labels)

    def loss(model: nn.Module, items: np.ndarray) -> torch.Tensor:
        return nn.functional.cross_entropy(model(x[items]), y[items])

    schedule = Schedule(epochs=FLOAT_EPOCHS[task], batch_size=128, learning_rate=2e-3, patience=99, seed=seed)
    fit(module, loss, np.ones(len(y)), schedule=schedule)
    return module


class Bench:
    """One float model of one seed, and what becomes of it."""

    def __init__(self, task: str, seed: int, folder: Path) -> None:
        self.task, self.seed, self.folder = task, seed, folder
        images, labels = data(task, "train")
        order = np.random.default_rng(seed).permutation(len(labels))
        held, learn = order[:NUM_VALIDATION], order[NUM_VALIDATION:]
        self.held, self.test = (images[held], labels[held]), data(task, "t10k")
        (folder / "float").mkdir(parents=True)
        module = trained(task, images[learn], labels[learn], seed)
        inputs = (TensorSpec(name="image", dtype="float32", shape=("batch", 1, 28, 28)),)
        self.source = torch_form.snapshot(module, inputs, {"image": images[:2]}, folder / "float")
        seen = images[learn[:NUM_CALIBRATE]]
        self.context = Context(
            calibration=tuple({"image": seen[i : i + 64]} for i in range(0, NUM_CALIBRATE, 64)),
            train=Dataset(columns=(images[learn],), labels=labels[learn]), original=self.source, seed=seed, threads=1,
        )  # fmt: skip

    def row(self, name: str, knobs: dict[str, Any], number: str, *, with_test: bool = True) -> dict[str, Any]:
        started = time.monotonic()
        method: Method = plugins.load(Method, name)(**knobs)  # type: ignore[type-abstract]
        result = method.apply(self.source, self.folder / number, self.context)
        return self.facts(name, knobs, result, with_test=with_test) | {"seconds": time.monotonic() - started}

    def facts(self, name: str, knobs: dict[str, Any], result: Pipeline, *, with_test: bool = True) -> dict[str, Any]:
        module = torch_form.load(result)
        facts = {"task": self.task, "seed": self.seed, "method": name, "knobs": knobs, "bytes": result.path.stat().st_size}
        if hasattr(module, "tensors"):
            facts["weight_bytes"] = sum(tensor.num_bytes for tensor in module.tensors.values())
            facts["bits"] = {name: tensor.bits for name, tensor in module.tensors.items()}
        facts["validation_error"] = error(module, *self.held)
        return facts | ({"test_error": error(module, *self.test)} if with_test else {})


def error(module: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """In percent."""
    with torch.inference_mode():
        answers = torch.cat([module(part) for part in torch.from_numpy(images).split(1000)]).argmax(1).numpy()
    return float(100 * (answers != labels).mean())


def run(task: str, seed: int, rates: dict[str, float]) -> list[dict[str, Any]]:
    """All rows of one seed; `rates` is filled by the first and read by the others."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        bench = Bench(task, seed, Path(folder))
        rows = [bench.facts("float32", {}, bench.source)]
        rows += [bench.row(name, knobs, f"round{i}") for i, (name, knobs) in enumerate(rounding())]
        for i, knobs in enumerate(LEARNING):
            key = json.dumps(knobs)
            if key not in rates:
                tried = {
                    rate: bench.row("qat", knobs | QAT[task] | {"learning_rate": rate}, f"try{i}{rate}", with_test=False)
                    for rate in RATES
                }
                rates[key] = min(tried, key=lambda rate: tried[rate]["validation_error"])
            rows.append(bench.row("qat", knobs | QAT[task] | {"learning_rate": rates[key]}, f"learn{i}"))
    return rows


def label(row: dict[str, Any]) -> str:
    knobs = {k: v for k, v in row["knobs"].items() if k not in ("epochs", "num_items", "learning_rate")}
    return f"{row['method']}({', '.join(f'{k}={v}' for k, v in knobs.items())})" if knobs else row["method"]


def table(task: str, rows: list[dict[str, Any]]) -> str:
    kinds = dict.fromkeys(label(row) for row in rows)
    lines = [
        f"## {task}, {len({r['seed'] for r in rows})} seeds",
        "",
        "| | bytes | test error, % | more than float32 | worst seed |",
    ]
    lines.append("|---|---|---|---|---|")
    plain = {row["seed"]: row["test_error"] for row in rows if row["method"] == "float32"}
    for kind in kinds:
        ours = [row for row in rows if label(row) == kind]
        errors, apart = [r["test_error"] for r in ours], [r["test_error"] - plain[r["seed"]] for r in ours]
        spread = statistics.stdev(errors) if len(errors) > 1 else 0.0
        size = statistics.mean(r["bytes"] for r in ours)
        more = f"{statistics.mean(apart):+.2f} | {max(apart):+.2f}"
        lines.append(f"| {kind} | {size:,.0f} | {statistics.mean(errors):.2f} +- {spread:.2f} | {more} |")
    return "\n".join(lines)


def main(tasks: list[str]) -> None:
    torch.set_num_threads(1)
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": [], "rates": {}}
    for task in tasks:
        for seed in SEEDS[task]:
            if any(row["task"] == task and row["seed"] == seed for row in stored["rows"]):
                continue
            started = time.monotonic()
            stored["rows"] += run(task, seed, stored["rates"])
            RESULTS.write_text(json.dumps(stored, indent=0))
            print(f"{task}, seed {seed}: {time.monotonic() - started:.0f} s", flush=True)
    parts = [
        table(task, [r for r in stored["rows"] if r["task"] == task])
        for task in SEEDS
        if any(r["task"] == task for r in stored["rows"])
    ]
    RESULTS.with_suffix(".md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:] or list(SEEDS))
