"""Structured pruning: accuracy and real latency of a small ResNet at about 2 and 4 times fewer products, and of ResNet-20.

    FARTHING_DATA=... python benchmarks/pruning.py WORK quality SEED... | test | cifar | latency | report

WORK keeps the trained model, every cut one and the state of what is learning: a run that was killed goes on where it was.

A ResNet of twenty layers is trained once on TRAIN images of Fashion-MNIST. Three cuts of equal widths (Torch-Pruning's own, and
farthing's by l2 and by Taylor's first term) are each followed by nothing, by least squares on CALIBRATE images, or by EPOCHS
epochs of cross entropy (Torch-Pruning alone) or of distillation: the same LEARN images, optimizer and batches. A seed draws the
images calibrated on and the order of those learned from. VALIDATION other images choose; `test` asks the test set once.
ResNet-20 for CIFAR-10 comes trained, and no CIFAR-10 images are at hand: `cifar` tells how often a cut one answers as the whole
one on Fashion-MNIST's test images, which says how much was changed, not how good it is.
Latency: eager PyTorch, ONNX Runtime and OpenVINO take turns with all models in one process with one thread.
"""

import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
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
from farthing.methods.distil import Distil
from farthing.methods.fuse import Fuse
from farthing.methods.prune_channels import PruneChannels
from farthing.methods.reconstruct import Reconstruct
from farthing.runtimes.base import Runtime, Session
from farthing.training import Schedule, fit
from farthing.types import Array, Context, Dataset, Pipeline, TensorSpec

DATA = Path(os.environ.get("FARTHING_DATA", "data"))
RESULTS = Path(__file__).parent / "results" / "pruning.json"
TRAIN, VALIDATION = 54000, 5700
LEARN, CALIBRATE = 20000, 256  # of TRAIN
EPOCHS, RATE, TEACHER_EPOCHS, TEACHER_RATE = 3, 1e-3, 15, 3e-3
RATIOS = {"2x": 0.3, "4x": 0.5}  # the residual stream is cut too: widths 8, 24, 48 and 8, 16, 32
THEIR_RATIOS = {"2x": 0.25, "4x": 0.5}  # with these Torch-Pruning, which rounds down to 8, leaves the same widths
INNER_RATIOS = {"2x": 0.5, "2.9x": 0.75}  # of ResNet-20, whose shortcuts pad: only inside a block channels go; 8 stay
BATCH_SIZES, ROUNDS = (1, 32), 60
RUNTIMES = {"torch_eager": "torch", "onnxruntime": "onnx", "openvino": "openvino"}

Apply = Callable[[Pipeline, Path, Context], Pipeline]


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
    splits = fashion()
    original = kept(work / "original", lambda folder: trained(splits["train"], folder))
    if what == "quality":
        for seed in seeds:
            quality(work / f"seed{seed}", int(seed), original, splits)
    if what == "test":
        (work / "test.json").write_text(json.dumps(tested(work, splits), indent=1))
    if what == "cifar":
        (work / "cifar.json").write_text(json.dumps(agreement(work, splits), indent=1))
    if what == "latency":
        (work / "latency.json").write_text(json.dumps(latency(work), indent=1))
    if what == "report":
        report({part: json.loads((work / f"{part}.json").read_text()) for part in ("test", "cifar", "latency")})


def cuts(level: str) -> dict[str, Apply]:
    ours = {name: PruneChannels(ratio=RATIOS[level], importance=name).apply for name in ("l2", "taylor")}
    return {"Torch-Pruning": torch_pruning_alone(THEIR_RATIOS[level]), **ours}


REPAIRS: dict[str, Apply] = {
    "reconstruct": Reconstruct().apply,
    "cross entropy": lambda source, folder, context: fine_tuned(source, folder, context),
    "distil": Distil(epochs=EPOCHS, learning_rate=RATE, num_items=LEARN).apply,
}


def quality(work: Path, seed: int, original: Pipeline, splits: dict[str, Dataset]) -> None:
    """Every cut and what follows it; beside each model its facts.json: products, validation accuracy, processor seconds."""
    train, asked = splits["train"], splits["validation"]
    calibrate = train.take(np.arange(CALIBRATE) + LEARN + seed * CALIBRATE)
    context = Context(
        calibration=tuple(pipelines.feeds_of(original, calibrate.requests, 32)),
        calibrate=calibrate,
        train=train.take(np.arange(LEARN)),
        original=original,
        seed=seed,
    )
    for level in RATIOS:
        for cutter, cut in cuts(level).items():
            whole = told(work / f"{level} {cutter}", cut, original, context, asked)
            for repair, apply in REPAIRS.items():
                told(work / f"{level} {cutter} + {repair}", apply, whole, context, asked)


def told(folder: Path, apply: Apply, source: Pipeline, context: Context, asked: Dataset) -> Pipeline:
    if (folder / "facts.json").exists():
        return pipelines.read(folder)
    started = time.process_time()
    model = apply(source, folder, replace(context, checkpoints=folder / "learning"))
    facts = {"process_s": time.process_time() - started, "macs": macs(model), "validation": accuracy(model, asked)}
    (folder / "facts.json").write_text(json.dumps(facts))
    print(f"{folder.parent.name}, {folder.name}: {facts}", flush=True)
    return model


def tested(work: Path, splits: dict[str, Dataset]) -> dict[str, Any]:
    """Facts of every model by its name, a list over seeds; which is called the best was chosen on validation."""
    whole = pipelines.read(work / "original")
    found = {"whole": [{"macs": macs(whole)} | {part: accuracy(whole, splits[part]) for part in ("validation", "test")}]}
    for file in sorted(work.glob("seed*/*/facts.json")):
        facts = json.loads(file.read_text()) | {"test": accuracy(pipelines.read(file.parent), splits["test"])}
        found.setdefault(file.parent.name, []).append({"seed": file.parent.parent.name} | facts)
    for level in RATIOS:
        assert len({facts["macs"] for name, rows in found.items() if name.startswith(level) for facts in rows}) == 1
    return found


def agreement(work: Path, splits: dict[str, Dataset]) -> dict[str, Any]:
    """Of ResNet-20, cut without any CIFAR-10 image: share of equal answers on images of something else, by what solved it."""
    original = resnet20(work)
    asked, images = colored(splits["test"]), colored(splits["train"].take(np.arange(CALIBRATE)))
    noise = tuple(pipelines.synthetic(original, 32, 1, seed) for seed in range(CALIBRATE // 32))
    feeds = tuple(pipelines.feeds_of(original, images.requests, 32))
    sources = {
        "noise": Context(calibration=noise, original=original),
        "other images": Context(calibration=feeds, calibrate=images, original=original),
    }
    before = answers(torch_form.load(original), asked)
    models = {"whole": original}
    for level, ratio in INNER_RATIOS.items():
        for source, context in sources.items():
            cut = models[level] = step(work / f"ResNet-20 {level}", PruneChannels(ratio=ratio).apply, original, context)
            name = f"{level} + reconstruct on {source}"
            models[name] = step(work / f"ResNet-20 {name}", Reconstruct().apply, cut, context)
    return {
        name: {"macs": macs(model), "answers_as_before": float((answers(torch_form.load(model), asked) == before).mean())}
        for name, model in models.items()
    }


def latency(work: Path) -> dict[str, Any]:
    """Per net, model, runtime and batch size: quartiles over ROUNDS rounds in which each takes its turn."""
    nets = {"Fashion-MNIST": (pipelines.read(work / "original"), RATIOS), "ResNet-20": (resnet20(work), INNER_RATIOS)}
    sessions: dict[tuple[str, str, str], tuple[Session, Pipeline]] = {}
    for net, (original, ratios) in nets.items():
        context = Context(calibration=tuple(pipelines.synthetic(original, 16, 1, seed) for seed in range(4)), original=original)
        models = {"whole": original}
        for level, ratio in ratios.items():
            models[level] = step(work / f"{net} {level} timed", PruneChannels(ratio=ratio).apply, original, context)
            if net == "Fashion-MNIST":
                models[f"{level} Torch-Pruning"] = pipelines.read(work / "seed0" / f"{level} Torch-Pruning")
        fused = {f"{name}, fused": step(work / f"{net} {name} fused", Fuse().apply, m, context) for name, m in models.items()}
        for name, model in (models | fused).items():
            for runtime, form in RUNTIMES.items():
                if name in fused and runtime != "torch_eager":
                    continue  # the converters fuse by themselves
                ready = model if form == "torch" else converted(work / f"{net} {name} {form}", model, form, context)
                opened = plugins.load(Runtime, runtime)().open(ready, threads=1, streams=1)  # type: ignore[type-abstract]
                sessions[net, name, runtime] = (opened, original)
    return timed(sessions)


def timed(sessions: dict[tuple[str, str, str], tuple[Session, Pipeline]]) -> dict[str, Any]:
    cases = {
        (*key, size): (session, pipelines.synthetic(original, size, 1))
        for key, (session, original) in sessions.items()
        for size in BATCH_SIZES
    }
    wall: dict[Any, list[float]] = {key: [] for key in cases}
    for number in range(ROUNDS + 3):
        for key, (session, feeds) in cases.items():
            started = time.perf_counter()
            session.run(feeds)
            if number >= 3:
                wall[key].append(time.perf_counter() - started)
    found: dict[str, Any] = {}
    for (net, name, runtime, size), seconds in wall.items():
        ratios = [a / b for a, b in zip(wall[net, "whole", runtime, size], seconds, strict=True)]
        facts = {"wall_s": quartiles(seconds), "speedup": quartiles(ratios)}
        found.setdefault(net, {}).setdefault(name, {})[f"{runtime} x {size}"] = facts
    return found


def report(found: dict[str, Any]) -> None:
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    models, cifar, times = (found[part] for part in ("test", "cifar", "latency"))
    whole = models.pop("whole")[0]
    lines = [
        f"Fashion-MNIST, means over {len(next(iter(models.values())))} seeds [least, most]. The whole ResNet: "
        f"{whole['macs'] / 1e6:.2f} million products, validation {whole['validation']:.4f}, test {whole['test']:.4f}.",
        "",
        "| cut and what follows | products, M | validation | test | over Torch-Pruning alone | processor s |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in models.items():
        alone = [row["test"] for row in models[f"{name[:2]} Torch-Pruning + cross entropy"]]
        test = [row["test"] for row in rows]
        apart = [a - b for a, b in zip(test, alone, strict=True)]
        validation, seconds = (statistics.mean(row[part] for row in rows) for part in ("validation", "process_s"))
        lines.append(
            f"| {name} | {rows[0]['macs'] / 1e6:.2f} | {validation:.4f} | {spread(test, '.4f')} | {spread(apart, '+.4f')} "
            f"| {seconds:.1f} |"
        )
    lines += ["", "| ResNet-20 | products, M | answers as before on Fashion-MNIST's test images |", "|---|---|---|"]
    lines += [f"| {name} | {row['macs'] / 1e6:.2f} | {row['answers_as_before']:.4f} |" for name, row in cifar.items()]
    for net, rows in times.items():
        columns = list(rows["whole"])
        lines += ["", f"| {net}: times faster than the whole [quartiles] | " + " | ".join(columns) + " |"]
        lines.append("|---" * (len(columns) + 1) + "|")
        shown = {name: [cases.get(column) for column in columns] for name, cases in rows.items()}
        lines += [f"| {name} | " + " | ".join(map(speedup, cases)) + " |" for name, cases in shown.items()]
    RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n")


def spread(values: list[float], form: str) -> str:
    return f"{statistics.mean(values):{form}} [{min(values):{form}}, {max(values):{form}}]"


def speedup(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return ""
    low, middle, high = facts["speedup"]
    return f"{middle:.2f} [{low:.2f}, {high:.2f}] ({1e3 * facts['wall_s'][1]:.2f} ms)"


def trained(train: Dataset, folder: Path) -> Pipeline:
    torch.manual_seed(0)
    module = ResNet(1, 2, 3, pads=False)
    schedule = Schedule(epochs=TEACHER_EPOCHS, patience=TEACHER_EPOCHS, batch_size=64, learning_rate=TEACHER_RATE)
    learn(module, train, schedule, folder / "learning", flips=True)
    inputs = (TensorSpec(name="image", dtype="float32", shape=("batch", 1, 28, 28)),)
    return torch_form.snapshot(module, inputs, {"image": np.zeros((2, 1, 28, 28), np.float32)}, folder)


def torch_pruning_alone(ratio: float) -> Apply:
    """Its own pruner as its manual shows it, with its group magnitude."""

    def apply(source: Pipeline, folder: Path, _: Context) -> Pipeline:
        module = torch_form.load(source).requires_grad_(True)
        torch_pruning.pruner.MagnitudePruner(
            module,
            torch.zeros(2, 1, 28, 28),
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=[module.linear],
            round_to=8,
        ).step()
        return torch_form.derive(module, source, folder, source.traits | {"cut"})

    return apply


def fine_tuned(source: Pipeline, folder: Path, context: Context) -> Pipeline:
    assert context.checkpoints is not None
    module = torch_form.load(source)
    learn(module, context.train, Schedule(epochs=EPOCHS, learning_rate=RATE, seed=context.seed), context.checkpoints)
    return torch_form.derive(module, source, folder, source.traits)


def learn(module: nn.Module, train: Dataset, schedule: Schedule, checkpoints: Path, *, flips: bool = False) -> None:
    """Cross entropy; with `flips`, half of the images are mirrored."""
    images, labels = torch.from_numpy(np.asarray(train.columns[0])), torch.from_numpy(np.asarray(train.labels))

    def loss(asked: nn.Module, items: Array) -> torch.Tensor:
        seen = images[items]
        if flips and asked.training:
            seen = torch.where(torch.rand(len(seen), 1, 1, 1) < 0.5, seen, seen.flip(3))
        return nn.functional.cross_entropy(asked(seen).float(), labels[items])

    fit(module, loss, np.ones(len(labels)), schedule=schedule, checkpoints=checkpoints)


def fashion() -> dict[str, Dataset]:
    def read(name: str, offset: int) -> Array:
        with gzip.open(DATA / "fashion-mnist" / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=offset)

    def split(images: Array, labels: Array) -> Dataset:
        pixels = (images.reshape(-1, 1, 28, 28).astype(np.float32) / 255 - 0.286) / 0.353
        return Dataset(columns=(pixels,), labels=labels.astype(np.int64))

    known = split(read("train-images-idx3-ubyte.gz", 16), read("train-labels-idx1-ubyte.gz", 8))
    order, cuts = np.random.default_rng(0).permutation(len(known)), np.cumsum([TRAIN, VALIDATION])
    parts = zip(("train", "validation"), np.split(order, cuts), strict=False)
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


def step(folder: Path, apply: Apply, source: Pipeline, context: Context) -> Pipeline:
    return kept(folder, lambda place: apply(source, place, context))


def kept(folder: Path, make: Callable[[Path], Pipeline]) -> Pipeline:
    if (folder / pipelines.MANIFEST).exists():
        return pipelines.read(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return make(folder)


def converted(folder: Path, model: Pipeline, form: str, context: Context) -> Pipeline:
    conversion: Any = plugins.load(Conversion, f"torch_to_{form}")  # type: ignore[type-abstract]
    return kept(folder, lambda place: conversion().convert(model, place, context))


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
