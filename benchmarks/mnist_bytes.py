"""How few bytes rebuild LeNet-300-100 and LeNet-5 for MNIST, by farthing's methods of storage.

    FARTHING_DATA=... python benchmarks/mnist_bytes.py lenet5 --seeds 0 1 2 3 4
    FARTHING_DATA=... python benchmarks/mnist_bytes.py lenet300 --seeds 100 --validate entropy=0.5   # the test set stays shut

5,000 of the 60,000 training images validate: recipes were chosen on them. A dense net learns from the other 55,000 and their
copies moved by a pixel; `share_weights` with a price on bits and `code_weights` follow. The test set is read once a seed;
results are added to results/mnist_bytes.json after each seed.
"""

import argparse
import gzip
import json
import math
import os
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from farthing import pipeline as pipelines
from farthing.forms import torch_form
from farthing.forms.coded import SEAL
from farthing.methods.base import Method
from farthing.methods.code_weights import CodeWeights
from farthing.methods.share_weights import ShareWeights
from farthing.types import Array, Context, Dataset, Pipeline, TensorSpec

RESULTS = Path(__file__).parent / "results" / "mnist_bytes.json"
NUM_VALIDATION, BATCH_SIZE = 5000, 128
DENSE_EPOCHS = {"lenet300": 8, "lenet5": 3}  # over images and their moved copies
PLAIN = ShareWeights(clusters=5, vectors=True, learning_rate=1e-3, batch_size=BATCH_SIZE, num_items=10**6)
SHARE = {  # small: about the error of the records in the literature; close: about that of Deep Compression
    ("lenet300", "small"): replace(PLAIN, entropy=0.7, epochs=12),
    ("lenet300", "close"): replace(PLAIN, entropy=0.35, epochs=12),
    ("lenet5", "small"): replace(PLAIN, entropy=1.5, epochs=7),
    ("lenet5", "close"): replace(PLAIN, entropy=0.4, epochs=7),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("net", choices=("lenet300", "lenet5"))
    parser.add_argument("--point", choices=("small", "close"), default="small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--validate", nargs="*", metavar="KNOB=VALUE", help="try these knobs, keep the test set shut")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dense", type=Path, help="a folder that keeps dense nets between calls")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    method = SHARE[asked.net, asked.point]
    if asked.validate is not None:
        method = replace(method, **{k: json.loads(v) for k, _, v in (pair.partition("=") for pair in asked.validate)})
    for seed in asked.seeds:
        row = one(asked.net, method, seed, asked.dense, test=asked.validate is None)
        print(json.dumps(row), flush=True)
        if asked.validate is None:
            add({"point": asked.point} | row)


def one(net: str, method: ShareWeights, seed: int, dense: Path | None, *, test: bool) -> dict[str, Any]:
    images, labels = mnist("train")
    order = np.random.default_rng(1).permutation(len(images))  # the same split for all seeds
    held_out, learned = order[:NUM_VALIDATION], order[NUM_VALIDATION:]
    moved = np.concatenate([images[learned], shifted(images[learned], seed)])
    train = Dataset(columns=(moved,), labels=np.concatenate([labels[learned]] * 2))
    with tempfile.TemporaryDirectory() as folder:
        source = original(net, train, seed, dense or Path(folder) / "dense")
        context = Context(
            calibration=tuple(pipelines.feeds_of(source, train.take(np.arange(16)).requests, 8)),
            train=train, original=source, seed=seed, threads=torch.get_num_threads(),
        )  # fmt: skip
        began = time.process_time()
        shared = method.apply(source, Path(folder) / "shared", context)
        spent_s = time.process_time() - began
        coded = CodeWeights().apply(shared, Path(folder) / "coded", context)
        row = {"net": net, "seed": seed, "recipe": knobs(method), "process_s": spent_s, **sizes(source, coded)}
        for name, (x, y) in {
            "validation": (images[held_out], labels[held_out]),
            **({"test": mnist("t10k")} if test else {}),
        }.items():
            row[name] = {"dense_error": error(source, x, y), "error": error(coded, x, y)}
    return row


def sizes(source: Pipeline, coded: Pipeline) -> dict[str, Any]:
    """weight_bytes: seal, shapes, levels, codes: what rebuilds the weights. file_bytes: with the module around them."""
    began = time.perf_counter()
    module = torch_form.load(coded)
    load_s = time.perf_counter() - began
    told = {name: int((tensor.decode() != 0).sum()) for name, tensor in module.tensors.items()}
    assert {name for name, _ in module.module.named_parameters()} == set(told), "a parameter that the stream does not hold"
    return {
        "weight_bytes": len(module.stream) + SEAL.size,
        "file_bytes": coded.path.stat().st_size,
        "dense_file_bytes": source.path.stat().st_size,
        "not_zero": told,
        "load_s": load_s,
    }


def error(pipeline: Pipeline, images: Array, labels: Array) -> float:
    """In percent."""
    module = torch_form.load(pipeline)
    answers = torch.cat([module(torch.from_numpy(images[i : i + 1000])).argmax(1) for i in range(0, len(images), 1000)])
    return 100 * float((answers.numpy() != labels).mean())


def original(net: str, train: Dataset, seed: int, folder: Path) -> Pipeline:
    """The dense net: AdamW and half a cosine; kept in `folder` where it was made before."""
    directory = folder / f"{net}_{seed}"
    if (directory / pipelines.MANIFEST).exists():
        return pipelines.read(directory)
    torch.manual_seed(seed)
    module = lenet300() if net == "lenet300" else lenet5()
    images, labels = torch.from_numpy(np.asarray(train.columns[0])), torch.from_numpy(np.asarray(train.labels))
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=0.01)
    num_steps, step = DENSE_EPOCHS[net] * math.ceil(len(images) / BATCH_SIZE), 0
    for _ in range(DENSE_EPOCHS[net]):
        for batch in torch.randperm(len(images)).split(BATCH_SIZE):
            optimizer.param_groups[0]["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * step / num_steps))
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.cross_entropy(module(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    directory.mkdir(parents=True)
    inputs = (TensorSpec(name="image", dtype="float32", shape=("batch", 1, 28, 28)),)
    return torch_form.snapshot(module.eval(), inputs, {"image": images[:2].numpy()}, directory)


def lenet300() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))


def lenet5() -> nn.Module:
    """As Caffe has it: 431,080 weights."""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
    )  # fmt: skip


def shifted(images: Array, seed: int) -> Array:
    """Each moved by a pixel at most, up or down and to a side."""
    draw, moved = np.random.default_rng(seed), np.empty_like(images)
    places = draw.integers(-1, 2, (len(images), 2))
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            chosen = (places == (down, right)).all(1)
            moved[chosen] = np.roll(images[chosen], (down, right), (2, 3))
    return moved


def mnist(part: str) -> tuple[Array, Array]:
    folder = Path(os.environ["FARTHING_DATA"]) / "mnist"
    pixels = np.frombuffer(gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return (pixels.reshape(-1, 1, 28, 28) / np.float32(255)).astype(np.float32), labels.astype(np.int64)


def knobs(method: Method) -> dict[str, Any]:
    return {name: getattr(method, name) for name in (field.name for field in fields(method))}


def add(row: dict[str, Any]) -> None:
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    rows = [r for r in rows if _key(r) != _key(row)] + [row]
    RESULTS.write_text(json.dumps(sorted(rows, key=_key), indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text("\n".join(table(sorted(rows, key=_key))) + "\n")


def table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "# Bytes that rebuild LeNet for MNIST",
        "",
        "Weights: seal, shapes, levels and codes of all parameters. File: with the module around them. Errors in percent.",
        "",
        "| net | point | seed | weights, bytes | file, bytes | not zero | validation | test | dense, test | opened in ms |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = (row["weight_bytes"], row["file_bytes"], sum(row["not_zero"].values()))
        told = " | ".join(f"{figure:,}" for figure in figures)
        errors = (row["validation"]["error"], row["test"]["error"], row["test"]["dense_error"])
        spent = " | ".join(f"{value:.2f}" for value in errors)
        lines.append(f"| {row['net']} | {row['point']} | {row['seed']} | {told} | {spent} | {1e3 * row['load_s']:.0f} |")
    lines += [
        "",
        "| net | point | seeds | weights, mean [least, most] | test error, mean [least, most] |",
        "|---|---|---|---|---|",
    ]
    for net, point in sorted({(row["net"], row["point"]) for row in rows}):
        group = [row for row in rows if (row["net"], row["point"]) == (net, point)]
        num_bytes, errors = [row["weight_bytes"] for row in group], [row["test"]["error"] for row in group]
        spread = f"{np.mean(num_bytes):,.0f} [{min(num_bytes):,}, {max(num_bytes):,}]"
        lines.append(
            f"| {net} | {point} | {len(group)} | {spread} | {np.mean(errors):.2f} [{min(errors):.2f}, {max(errors):.2f}] |"
        )
    return lines


def _key(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["net"], row["point"], row["seed"]


if __name__ == "__main__":
    main()
