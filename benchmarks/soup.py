"""Several students of one cut model, merged, against one student that was given the same time to learn: Fashion-MNIST.

FARTHING_DATA=... python benchmarks/soup.py [--seeds 5] [--items 4000]: writes results/soup.json.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from farthing.forms import torch_form
from farthing.methods.distil import Distil
from farthing.methods.low_rank import LowRank
from farthing.methods.soup import Soup
from farthing.pipeline import feeds_of
from farthing.types import Context, Dataset, TensorSpec

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "jobs"))
from sources import _fashion  # noqa: E402

NUM_TRAINED, NUM_MODELS, ENERGY = 20_000, 3, 0.85  # images of the original; students of a soup; what the cut keeps
RATE = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--items", type=int, default=4000, help="of the train split, that students learn from")
    parser.add_argument("--epochs", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    images, labels = (value[:NUM_TRAINED] for value in _fashion("train"))
    test_images, test_labels = _fashion("t10k")
    rows: list[dict[str, Any]] = []
    for seed in range(asked.seeds):
        with TemporaryDirectory() as scratch:
            place = Path(scratch)
            original = _snapshot(_network(images, labels, seed), place / "original")
            chosen = np.random.default_rng(seed).permutation(len(images))[: asked.items]
            train = Dataset(columns=(images[chosen].reshape(-1, 784),), labels=labels[chosen])
            calibration = tuple(feeds_of(original, train.requests[:256], 32))
            context = Context(calibration=calibration, train=train, original=original, seed=seed)
            cut = LowRank(energy=ENERGY).apply(original, place / "cut", context)
            for name, method in _ways(asked.epochs).items():
                began = time.process_time()
                result = cut if method is None else method.apply(cut, place / name, replace(context))
                row = {"seed": seed, "way": name, "cpu_s": time.process_time() - began}
                rows.append(row | {"accuracy": _accuracy(result, test_images, test_labels)})
            rows.append({"seed": seed, "way": "original", "accuracy": _accuracy(original, test_images, test_labels)})
        print(json.dumps([row for row in rows if row["seed"] == seed]), flush=True)
        (HERE / "results" / "soup.json").write_text(json.dumps({"arguments": vars(asked), "rows": rows}, indent=1))


def _ways(epochs: int) -> dict[str, Any]:
    """One student for one share of the time, for all of it, and three of them merged."""
    merged = {
        f"soup, {merge}": Soup(num_models=NUM_MODELS, merge=merge, epochs=epochs, learning_rate=RATE)
        for merge in ("uniform", "greedy", "ensemble")
    }
    return {
        "cut alone": None,
        "distil": Distil(epochs=epochs, learning_rate=RATE),
        "distil, 3 times as long": Distil(epochs=NUM_MODELS * epochs, learning_rate=RATE),
        **merged,
    }


def _network(images: Any, labels: Any, seed: int) -> nn.Module:
    """784-300-100-10, trained for six epochs."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    x, y = torch.from_numpy(images).flatten(1), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    for _ in range(6):
        for batch in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[batch]), y[batch]).backward()
            optimizer.step()
    return module.eval()


def _snapshot(module: nn.Module, directory: Path) -> Any:
    directory.mkdir()
    inputs = (TensorSpec(name="input", dtype="float32", shape=("batch", 784)),)
    return torch_form.snapshot(module, inputs, {"input": np.zeros((2, 784), np.float32)}, directory)


def _accuracy(pipeline: Any, images: Any, labels: Any) -> float:
    session = torch_form.TorchSession(torch_form.load(pipeline), pipeline.inputs, threads=1)
    return float((session.run({"input": images.reshape(-1, 784)})[0].argmax(1) == labels).mean())


if __name__ == "__main__":
    main()
