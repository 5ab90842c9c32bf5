"""Adapting MiniLM to CLINC-150: four ways to learn its intents; 50 intents that arrive later, with and without replay.

FARTHING_DATA=... python benchmarks/adapt.py ways|later [--each 8] [--epochs 3]: writes results/adapt_*.json.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import farthing
from farthing.forms import torch_form

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "jobs"))
import sources  # noqa: E402

BATCH = 64
TEST_SEED = 0
NUM_REPLAYED = (0, 800)  # of the 4,000 that the old model has learned from
EACH_NEW = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=8, help="training queries of each intent")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--test", type=int, default=1500, help="test queries, drawn once")
    parser.add_argument("part", choices=["ways", "later"])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for row in {"ways": ways, "later": later}[asked.part](asked):
        rows.append(row)
        out = HERE / "results" / f"adapt_{asked.part}.json"
        out.write_text(json.dumps({"arguments": vars(asked), "rows": rows}, indent=1))


def ways(asked: argparse.Namespace) -> Any:
    """All 150 intents from `each` queries of each."""
    train, test = _some(sources.clinc(("train",)), asked.each), _drawn(sources.clinc_test(), asked.test)
    encoder, *rest = sources.minilm()
    for how in ("head", "unfreeze", "lora", "full"):
        began = time.process_time()
        module = farthing.adapt((encoder, *rest), {"intent": (train["text"], train["intent"])}, how=how, epochs=asked.epochs)
        row = {"how": how, "cpu_s": time.process_time() - began, "accuracy": accuracy(module, rest[1], test)}
        print(row, flush=True)
        yield row


def later(asked: argparse.Namespace) -> Any:
    """The other 50 intents, learned beside so many remembered queries of the 100."""
    module, *rest = sources.old_intents_model()
    known = sources.old_intents()
    parts = np.array(known["part"])
    old = {name: _rows(known, np.flatnonzero(parts == part)) for name, part in (("train", "train"), ("test", "verify"))}
    old["test"] = _drawn(old["test"], asked.test)
    new = {"train": sources.new_intents(each=EACH_NEW), "test": _drawn(sources.new_intents(("test",), each=30), asked.test)}
    yield {"replayed": None, **{name: accuracy(module, rest[1], data["test"]) for name, data in (("old", old), ("new", new))}}
    draw = np.random.default_rng(0).permutation(len(old["train"]["text"]))
    for number in NUM_REPLAYED:
        replayed = _rows(old["train"], np.sort(draw[:number]))
        texts = replayed["text"] + new["train"]["text"]
        labels = np.concatenate([replayed["intent"], new["train"]["intent"]])
        learned = _continued(module, rest, texts, labels, asked.epochs)
        row = {
            "replayed": number,
            "old": accuracy(learned, rest[1], old["test"]),
            "new": accuracy(learned, rest[1], new["test"]),
        }
        print(row, flush=True)
        yield row


def _continued(module: Any, rest: list[Any], texts: list[str], labels: Any, epochs: int) -> Any:
    """As `farthing update` lets it learn: its own head, all weights."""
    from tempfile import TemporaryDirectory

    from farthing.adaptation import Adaptation, Task, adapt
    from farthing.model_sources.base import snapshot_object
    from farthing.types import Dataset

    with TemporaryDirectory() as scratch:
        place = Path(scratch) / "source"
        place.mkdir()
        source = snapshot_object((module, *rest), place)
        task = Task(name="intent", data=Dataset(columns=(texts,), labels=labels))
        return torch_form.load(adapt(source, Path(scratch) / "made", [task], Adaptation(how="full", epochs=epochs), threads=1))


def accuracy(module: Any, folder: Path, data: dict[str, Any]) -> dict[str, float]:
    """The share that is right, with its 95% interval (Wilson)."""
    from transformers import AutoTokenizer

    tokenizer, right = AutoTokenizer.from_pretrained(folder), 0
    with torch.inference_mode():
        for start in range(0, len(data["text"]), BATCH):
            batch = tokenizer(data["text"][start : start + BATCH], padding=True, return_tensors="pt")
            answers = module(batch["input_ids"], batch["attention_mask"]).argmax(1).numpy()
            right += int((answers == data["intent"][start : start + BATCH]).sum())
    n, z = len(data["text"]), 1.96
    p = right / n
    middle, half = (p + z**2 / (2 * n)) / (1 + z**2 / n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return {"value": p, "low": float(middle - half), "high": float(middle + half), "items": n}


def _some(data: dict[str, Any], each: int) -> dict[str, Any]:
    return _rows(data, np.concatenate([np.flatnonzero(data["intent"] == k)[:each] for k in range(sources.NUM_INTENTS)]))


def _drawn(data: dict[str, Any], most: int) -> dict[str, Any]:
    return _rows(data, np.sort(np.random.default_rng(TEST_SEED).permutation(len(data["text"]))[:most]))


def _rows(data: dict[str, Any], index: Any) -> dict[str, Any]:
    return {"text": [data["text"][i] for i in index], "intent": data["intent"][index]}


if __name__ == "__main__":
    main()
