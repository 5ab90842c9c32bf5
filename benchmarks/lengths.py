"""Texts of real lengths, offline: the deployment found, against eager torch that sorts by length and pads no more than it must.

    python benchmarks/lengths.py RUN

RUN is a finished run of benchmarks/jobs/lengths.toml. All answer the same texts from the string to the vector, with the same
tokenizer and the same collating, on as many cores; each in a process of its own, taking turns. Eager torch gets whichever of
EAGER_BATCHES is faster on a trial. "padded to 128" is what one gets without thinking: batches as they come.
"""

import json
import os
import random
import statistics
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])  # for the workers
sys.path.append(str(HERE.parent / "examples"))

import numpy as np  # noqa: E402

from farthing import pipeline as pipelines  # noqa: E402
from farthing.artifact import load  # noqa: E402
from farthing.measurement import session  # noqa: E402
from farthing.measurement.load import run_offline  # noqa: E402
from farthing.measurement.workers import Worker  # noqa: E402

ROUNDS = 5
NUM_TEXTS = 384
NUM_TRIAL = 64
EAGER_BATCHES = (8, 32)
PADDED_LENGTH = 128
EAGER = {"eager fp32, sorted": "float32", "eager bf16, sorted": "bfloat16", "eager fp32, padded to 128": "float32"}
OURS = "farthing"
RESULTS = HERE / "results"
Requests = list[tuple[str]]


def main(run: Path) -> None:
    from minilm import paragraphs

    texts = random.Random(0).sample(paragraphs()["text"], NUM_TEXTS + NUM_TRIAL)
    requests: Requests = [(text,) for text in texts[:NUM_TEXTS]]
    trial: Requests = [(text,) for text in texts[NUM_TEXTS:]]
    artifact = load(run / "artifact", trust=True)
    chosen = artifact.manifest.deployment
    cores = chosen.threads * chosen.streams
    logs = Path(tempfile.mkdtemp())
    workers = {name: Worker(log=logs / f"{i}.log", max_rss_bytes=6e9, timeout_s=400) for i, name in enumerate([OURS, *EAGER])}
    workers[OURS].call(
        session.open_build, artifact.directory, chosen.build.runtime, chosen.threads, chosen.streams, chosen.build.device_kind
    )
    batches = {OURS: chosen.batch_size}
    for name, dtype in EAGER.items():
        batches[name] = workers[name].call(open_eager, artifact.directory, dtype, cores, trial, "padded" in name)
    answers = {name: worker.call(session.answers, trial, batches[name]) for name, worker in workers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(ROUNDS):
        for name, worker in workers.items():
            seconds[name].append(worker.call(one_round, requests, batches[name], name == OURS and not chosen.bucketing))
    lengths = workers[OURS].call(session.lengths, requests)
    for worker in workers.values():
        worker.stop()
    result = {
        "versions": {name: metadata.version(name) for name in ("torch", "transformers", "onnxruntime", "openvino")},
        "deployment": str(chosen),
        "cores": cores,
        "num_texts": NUM_TEXTS,
        "tokens": {"mean": float(lengths.mean()), "least": int(lengths.min()), "most": int(lengths.max())},
        "batch_size": batches,
        "cosine_drop": {name: _drop(answers["eager fp32, sorted"], found) for name, found in answers.items()},
        "seconds": seconds,
    }
    (RESULTS / "lengths.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "lengths.md").write_text(table(result) + "\n")
    print(table(result))


class Eager:
    """A session of eager torch; `padded` pads every text to PADDED_LENGTH."""

    def __init__(self, dtype: str, threads: int, padded: bool) -> None:
        import torch

        from variants import question

        torch.set_num_threads(threads)
        self.module, self.padded = question.module().to(getattr(torch, dtype)), padded

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        import torch

        names = ("input_ids", "attention_mask")
        width = PADDED_LENGTH if self.padded else feeds["input_ids"].shape[1]
        full = [np.pad(feeds[name], ((0, 0), (0, width - feeds[name].shape[1]))) for name in names]
        with torch.inference_mode():
            return [self.module(*map(torch.from_numpy, full)).float().numpy()]

    def close(self) -> None:
        del self.module


def open_eager(state: dict[str, Any], directory: Path, dtype: str, threads: int, trial: Requests, padded: bool) -> int:
    """Open; the batch size that answered `trial` fastest. The pipeline of the artifact brings the tokenizer."""
    state |= {"pipeline": pipelines.read(directory), "session": Eager(dtype, threads, padded), "streams": 1, "padded": padded}
    one_round(state, trial, EAGER_BATCHES[0], False)
    return min(EAGER_BATCHES, key=lambda size: one_round(state, trial, size, False))


def one_round(state: dict[str, Any], requests: Requests, batch_size: int, in_order: bool) -> float:
    """Seconds from the texts to all answers; sorted by length, except where the variant takes them as they come."""
    started = time.perf_counter()
    run_offline(state, requests, batch_size, bucketing=not (in_order or state.get("padded")))
    return time.perf_counter() - started


def _drop(original: Any, found: Any) -> float:
    norms = np.linalg.norm(original, axis=1) * np.linalg.norm(found, axis=1)
    return 1.0 - float(((original * found).sum(1) / norms).mean())


def table(result: dict[str, Any]) -> str:
    """Ratios are seconds(variant) / seconds(farthing) round by round: median [least, most]."""
    seconds, tokens = result["seconds"], result["tokens"]
    lines = [
        f"**Real lengths, offline**: {result['num_texts']} paragraphs of {tokens['least']} to {tokens['most']} tokens, mean "
        f"{tokens['mean']:.1f}; cores each: {result['cores']}; {len(seconds[OURS])} rounds in turns; "
        f"farthing runs {result['deployment']}",
        "",
        "| variant | batch | texts/s | farthing is so many times faster | cosine drop |",
        "|---|---|---|---|---|",
    ]
    for name, times in sorted(seconds.items(), key=lambda item: statistics.median(item[1])):
        ratios = sorted(theirs / ours for theirs, ours in zip(times, seconds[OURS], strict=True))
        lines.append(
            f"| {name} | {result['batch_size'][name]} | {result['num_texts'] / statistics.median(times):.0f} | "
            f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}] | {result['cosine_drop'][name]:.4f} |"
        )
    return "\n".join([*lines, "", f"Versions: {', '.join(f'{name} {v}' for name, v in result['versions'].items())}"])


if __name__ == "__main__":
    import lengths  # under its own name: workers find functions by module and name

    lengths.main(Path(sys.argv[1]))
