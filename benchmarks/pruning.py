"""Structured pruning: accuracy and real latency of a small ResNet at about 2 and 4 times fewer products, and of ResNet-20.

    FARTHING_DATA=... python benchmarks/pruning.py WORK quality SEED... | test | cifar | latency | report

WORK keeps the trained model and every cut one: a run that was killed goes on where it was.

Quality: a ResNet of twenty layers, trained once on TRAIN images of Fashion-MNIST; VALIDATION other images of its training set
say what is called the best, and `test` asks the test set once, when all is chosen. A cut is followed by nothing, by least squares
on CALIBRATE images or on noise, or by EPOCHS epochs of learning; Torch-Pruning alone gets the same epochs, images and
optimizer. A seed draws what is learned from in which order; the trained model and the images are those of seed 0.
ResNet-20 for CIFAR-10 is pretrained, and no CIFAR-10 images are at hand: `cifar` tells how often a cut one answers as the whole
one does on Fashion-MNIST's images, which says how much was changed, not how good it is.
Latency: both, in eager PyTorch, ONNX Runtime and OpenVINO, all taking turns in one process with one thread.
"""

import gzip
import json
import os
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_pruning
from torch import nn

from farthing import pipeline as pipelines
from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.forms import torch_form
from farthing.methods.base import Method
from farthing.methods.distil import Distil
from farthing.methods.fuse import Fuse
from farthing.methods.prune_channels import PruneChannels
from farthing.methods.reconstruct import Reconstruct
from farthing.runtimes.base import Runtime, Session
from farthing.training import Schedule, fit
from farthing.types import Array, Context, Dataset, Pipeline, TensorSpec

DATA = Path(os.environ.get("FARTHING_DATA", "data"))
RESULTS = Path(__file__).parent / "results" / "pruning.json"
TRAIN, VALIDATION, CALIBRATE = 54000, 5700, 256
EPOCHS, RATE, TEACHER_EPOCHS, TEACHER_RATE = 3, 1e-3, 20, 3e-3
RATIOS = {"2x": 0.3, "4x": 0.5}  # of the Fashion-MNIST ResNet, whose residual stream is cut too: widths 8, 24, 48 and 8, 16, 32
THEIR_RATIOS = {"2x": 0.25, "4x": 0.5}  # with these Torch-Pruning, which rounds down to 8, leaves the same widths
INNER_RATIOS = {"2x": 0.5, "4x": 0.75}  # of ResNet-20, whose shortcuts pad: only channels inside a block go
IMPORTANCES = ("l2", "taylor")
RIDGES = (1e-3, 1e-2, 1e-1)
BATCH_SIZES, ROUNDS = (1, 32), 60
RUNTIMES = {"torch_eager": "torch", "onnxruntime": "onnx", "openvino": "openvino"}


class Block(nn.Module):
    """`pads`: the shortcut of a wider block fills up with zeros (option A of He et al.), else it is a 1 x 1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, pads: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.fill = (outputs - inputs) // 2 if pads else 0
        self.shortcut: nn.Module = nn.Identity()
        if not pads and inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.fill:
            return torch.relu(y + nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.fill, self.fill)))
        return torch.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, channels: int, stride: int, blocks: int, *, pads: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, 16, 3, stride, 1, bias=False), nn.BatchNorm2d(16)
        widths = (16, 32, 64)
        for number, (before, width) in enumerate(zip((16, *widths), widths, strict=False), 1):
            made = [Block(before, width, 1 + (number > 1), pads=pads)]
            made += [Block(width, width, 1, pads=pads) for _ in range(blocks - 1)]
            setattr(self, f"layer{number}", nn.Sequential(*made))
        self.linear = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(image)))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def main(work: Path, what: str, *seeds: str) -> None:
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    splits = fashion()
    original = kept(work / "original", lambda folder: trained(splits["train"], folder))
    for seed in seeds:
        quality(work / f"seed{seed}", int(seed), original, splits)
    if what == "test":
        test(work, splits["test"])
    if what == "cifar":
        (work / "cifar.json").write_text(json.dumps(agreement(work, splits), indent=1))
    if what == "latency":
        (work / "latency.json").write_text(json.dumps(latency(work), indent=1))
    if what == "report":
        names = ("test", "cifar", "latency")
        RESULTS.write_text(
            json.dumps({name: json.loads((work / f"{name}.json").read_text()) for name in names}, indent=1) + "\n"
        )


def quality(work: Path, seed: int, original: Pipeline, splits: dict[str, Dataset]) -> None:
    work.mkdir(exist_ok=True)
    train, calibrate = splits["train"], splits["calibrate"]
    images = tuple(pipelines.feeds_of(original, calibrate.requests, 32))
    context = Context(calibration=images, calibrate=calibrate, train=train, original=original, seed=seed)
    noise = replace(context, calibration=tuple(pipelines.synthetic(original, 32, 1, seed + k) for k in range(8)))
    distil = Distil(epochs=EPOCHS, learning_rate=RATE, num_items=TRAIN)

    def tell(name: str, model: Pipeline) -> None:
        told(work, splits["validation"], name, model)

    tell("original", original)
    for level, ratio in RATIOS.items():
        for importance in IMPORTANCES:
            name = f"{level} {importance}"
            cut = step(work, name, PruneChannels(ratio=ratio, importance=importance), original, context)
            tell(name, cut)
            for ridge in RIDGES:
                solved = f"{name} + reconstruct({ridge:g})"
                tell(solved, step(work, solved, Reconstruct(ridge=ridge), cut, context))
            tell(f"{name} + distil", step(work, f"{name} + distil", distil, cut, context))
        at_once = pipelines.read(work / f"{level} l2")
        tell(f"{level} l2 + reconstruct on noise", step(work, f"{level} noise", Reconstruct(), at_once, noise))
        alone = kept(work / f"{level} alone", lambda folder, at=level: torch_pruning_alone(original, at, train, folder, seed))
        tell(f"{level} Torch-Pruning alone + fine-tuning", alone)


def test(work: Path, asked: Dataset) -> None:
    """Every model that was told of, on the test set; which is called the best was chosen on validation."""
    found: dict[str, Any] = {}
    for file in sorted(work.glob("seed*/quality.json")):
        found[file.parent.name] = json.loads(file.read_text())
        for name, facts in found[file.parent.name].items():
            facts["test"] = accuracy(pipelines.read(Path(facts.pop("folder"))), asked)
    (work / "test.json").write_text(json.dumps(found, indent=1))
    for name in found["seed0"]:
        values = {part: [run[name][part] for run in found.values() if name in run] for part in ("validation", "test")}
        spread = {part: f"{statistics.mean(v):.4f} [{min(v):.4f}, {max(v):.4f}]" for part, v in values.items()}
        print(name, f"{found['seed0'][name]['macs'] / 1e6:.2f}M", len(values["test"]), spread)


def agreement(work: Path, splits: dict[str, Dataset]) -> dict[str, Any]:
    """ResNet-20 cut without any CIFAR-10 image: how often it answers as before on images of something else, by what solved it."""
    original = resnet20(work)
    asked, calibrate = colored(splits["test"]), colored(splits["calibrate"])
    sources = {
        "noise": tuple(pipelines.synthetic(original, 32, 1, seed) for seed in range(8)),
        "images": tuple(pipelines.feeds_of(original, calibrate.requests, 32)),
    }
    module, found = torch_form.load(original), dict[str, Any]()
    before = answers(module, asked)
    for level, ratio in INNER_RATIOS.items():
        for source, feeds in sources.items():
            context = Context(calibration=feeds, calibrate=calibrate, original=original)
            cut = step(work, f"ResNet-20 {level}", PruneChannels(ratio=ratio), original, context)
            solved = step(work, f"ResNet-20 {level} {source}", Reconstruct(), cut, context)
            models = {f"{level} l2": cut, f"{level} l2 + reconstruct on {source}": solved}
            for name, model in models.items():
                same = float((answers(torch_form.load(model), asked) == before).mean())
                found[name] = {"macs": macs(model), "answers_as_before": same}
                print(name, found[name], flush=True)
    return found | {"whole": {"macs": macs(original)}}


def latency(work: Path) -> dict[str, Any]:
    """Medians over ROUNDS rounds in which every model, runtime and batch size takes its turn: wall and processor time."""
    nets = {"Fashion-MNIST": (pipelines.read(work / "original"), RATIOS), "ResNet-20": (resnet20(work), INNER_RATIOS)}
    sessions: dict[tuple[str, str, str], tuple[Session, Pipeline]] = {}
    facts: dict[str, Any] = {}
    for net, (original, ratios) in nets.items():
        feeds = tuple(pipelines.synthetic(original, 16, 1, seed) for seed in range(4))
        context = Context(calibration=feeds, original=original)
        models = {"whole": original, "whole, fused": step(work, f"{net} fused", Fuse(), original, context)}
        for level, ratio in ratios.items():
            cut = step(work, f"{net} {level} timed", PruneChannels(ratio=ratio), original, context)
            models |= {level: cut, f"{level}, fused": step(work, f"{net} {level} fused", Fuse(), cut, context)}
            if net == "Fashion-MNIST":
                models[f"{level}, Torch-Pruning"] = pipelines.read(work / "seed0" / f"{level} alone")
        facts[net] = {name: {"macs": macs(model), "bytes": model.path.stat().st_size} for name, model in models.items()}
        for name, model in models.items():
            for runtime, form in RUNTIMES.items():
                if "fused" in name and runtime != "torch_eager":
                    continue
                ready = model if form == "torch" else converted(work / f"{net} {name} {form}", model, form, context)
                opened = plugins.load(Runtime, runtime)().open(ready, threads=1, streams=1)  # type: ignore[type-abstract]
                sessions[net, name, runtime] = (opened, original)
    return facts | {"times": timed(sessions)}


def timed(sessions: dict[tuple[str, str, str], tuple[Session, Pipeline]]) -> dict[str, Any]:
    cases = {
        (*key, size): (session, pipelines.synthetic(original, size, 1))
        for key, (session, original) in sessions.items()
        for size in BATCH_SIZES
    }
    wall: dict[Any, list[float]] = {key: [] for key in cases}
    processor: dict[Any, list[float]] = {key: [] for key in cases}
    for number in range(ROUNDS + 3):
        for key, (session, feeds) in cases.items():
            started, used = time.perf_counter(), time.process_time()
            session.run(feeds)
            if number >= 3:
                processor[key].append(time.process_time() - used)
                wall[key].append(time.perf_counter() - started)
    return {
        ", ".join(map(str, key)): {
            "wall_s": quartiles(wall[key]),
            "processor_s": quartiles(processor[key]),
            "speedup": quartiles(
                [a / b for a, b in zip(processor[key[0], "whole", key[2], key[3]], processor[key], strict=True)]
            ),
        }
        for key in cases
    }


def trained(train: Dataset, folder: Path) -> Pipeline:
    torch.manual_seed(0)
    module = ResNet(1, 2, 3, pads=False)
    schedule = Schedule(epochs=TEACHER_EPOCHS, patience=TEACHER_EPOCHS, batch_size=64, learning_rate=TEACHER_RATE)
    learn(module, train, schedule, flips=True)
    inputs = (TensorSpec(name="image", dtype="float32", shape=("batch", 1, 28, 28)),)
    return torch_form.snapshot(module, inputs, {"image": np.zeros((2, 1, 28, 28), np.float32)}, folder)


def torch_pruning_alone(original: Pipeline, level: str, train: Dataset, folder: Path, seed: int) -> Pipeline:
    """Its own pruner as its manual shows it, with its group magnitude, then cross entropy on the same images and epochs."""
    module = torch_form.load(original).requires_grad_(True)
    pruner = torch_pruning.pruner.MagnitudePruner(
        module,
        torch.zeros(2, 1, 28, 28),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=THEIR_RATIOS[level],
        ignored_layers=[module.linear],
        round_to=8,
    )
    pruner.step()
    learn(module, train, Schedule(epochs=EPOCHS, learning_rate=RATE, seed=seed))
    return torch_form.derive(module, original, folder, original.traits)


def learn(module: nn.Module, train: Dataset, schedule: Schedule, *, flips: bool = False) -> None:
    """Cross entropy; with `flips`, half of the images are mirrored."""
    images, labels = torch.from_numpy(np.asarray(train.columns[0])), torch.from_numpy(np.asarray(train.labels))

    def loss(asked: nn.Module, items: Array) -> torch.Tensor:
        seen = images[items]
        if flips and asked.training:
            seen = torch.where(torch.rand(len(seen), 1, 1, 1) < 0.5, seen, seen.flip(3))
        return nn.functional.cross_entropy(asked(seen).float(), labels[items])

    fit(module, loss, np.ones(len(labels)), schedule=schedule)


def fashion() -> dict[str, Dataset]:
    def read(name: str, offset: int) -> Array:
        with gzip.open(DATA / "fashion-mnist" / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=offset)

    def split(images: Array, labels: Array) -> Dataset:
        pixels = (images.reshape(-1, 1, 28, 28).astype(np.float32) / 255 - 0.286) / 0.353
        return Dataset(columns=(pixels,), labels=labels.astype(np.int64))

    known = split(read("train-images-idx3-ubyte.gz", 16), read("train-labels-idx1-ubyte.gz", 8))
    order, cuts = np.random.default_rng(0).permutation(len(known)), np.cumsum([TRAIN, VALIDATION, CALIBRATE])
    parts = zip(("train", "validation", "calibrate"), np.split(order, cuts), strict=False)
    test = split(read("t10k-images-idx3-ubyte.gz", 16), read("t10k-labels-idx1-ubyte.gz", 8))
    return {name: known.take(part) for name, part in parts} | {"test": test}


def colored(grey: Dataset) -> Dataset:
    """The same images with a border of two pixels and three equal colors, which is what ResNet-20 reads."""
    pixels = np.pad(np.asarray(grey.columns[0]), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    return Dataset(columns=(np.repeat(pixels, 3, axis=1),), labels=grey.labels)


def resnet20(work: Path) -> Pipeline:
    def make(folder: Path) -> Pipeline:
        module = ResNet(3, 1, 3, pads=True)
        state = torch.load(DATA / "resnet-cifar10" / "resnet20-12fca82f.th", map_location="cpu", weights_only=True)
        module.load_state_dict({name.removeprefix("module."): value for name, value in state["state_dict"].items()})
        inputs = (TensorSpec(name="image", dtype="float32", shape=("batch", 3, 32, 32)),)
        return torch_form.snapshot(module, inputs, {"image": np.zeros((2, 3, 32, 32), np.float32)}, folder)

    return kept(work / "resnet20", make)


def step(work: Path, name: str, method: Method, source: Pipeline, context: Context) -> Pipeline:
    folder = work / name
    if (folder / pipelines.MANIFEST).exists():
        return pipelines.read(folder)
    print(f"{name}: {method}", flush=True)
    return method.apply(source, folder, replace(context, checkpoints=work / f"{name}.learning"))


def kept(folder: Path, make: Any) -> Pipeline:
    if (folder / pipelines.MANIFEST).exists():
        return pipelines.read(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made: Pipeline = make(folder)
    return made


def converted(folder: Path, model: Pipeline, form: str, context: Context) -> Pipeline:
    conversion: Any = plugins.load(Conversion, f"torch_to_{form}")  # type: ignore[type-abstract]
    return kept(folder, lambda place: conversion().convert(model, place, context))


def told(work: Path, asked: Dataset, name: str, model: Pipeline) -> None:
    """Accuracy on the validation images, with the products of one image; kept in WORK."""
    file = work / "quality.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    if name in before:
        return
    found = {"macs": macs(model), "validation": accuracy(model, asked), "folder": str(model.directory)}
    print(f"{name}: {found}", flush=True)
    file.write_text(json.dumps(before | {name: found}, indent=1))


def accuracy(model: Pipeline, asked: Dataset) -> float:
    return float((answers(torch_form.load(model), asked) == asked.labels).mean())


def answers(module: Any, asked: Dataset) -> Array:
    images = torch.from_numpy(np.asarray(asked.columns[0]))
    with torch.no_grad():
        return torch.cat([module(images[i : i + 500]).argmax(1) for i in range(0, len(images), 500)]).numpy()


def macs(model: Pipeline) -> float:
    """Products of one image, in convolutions and linear layers."""
    module, total = torch_form.load(model), 0

    def count(layer: Any, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += output[0].numel() // output.shape[1] * layer.weight.numel()

    handles = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        module(*torch_form.tensors(pipelines.synthetic(model, 1, 1), model.inputs))
    assert handles
    return float(total)


def quartiles(values: list[float]) -> list[float]:
    return [float(f"{q:.4g}") for q in statistics.quantiles(values, n=4)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
