"""The deployment found, against each library used plainly and against what other tools made by themselves.

    FARTHING_DATA=... python benchmarks/deployment.py RUNS [PEERS] [--rounds N]

MiniLM on 32 tokens x 1 and 128 tokens x 32. RUNS holds the finished runs of benchmarks/jobs/fixed32.toml and fixed128.toml;
PEERS the answers of benchmarks/peers. Every variant lives in a process of its own; they take turns, so that all are slowed
alike; ratios are to torch eager float32 in the same round, per item and core. All are held to one floor by one test.
"""

import argparse
import json
import os
import statistics
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])  # for the workers

import variants  # noqa: E402
from farthing.certification import certify  # noqa: E402
from farthing.errors import FarthingError  # noqa: E402
from farthing.measurement.workers import Worker  # noqa: E402
from farthing.percentiles import percentile_interval, samples_needed  # noqa: E402
from farthing.results import Evidence  # noqa: E402
from farthing.types import Floor  # noqa: E402
from variants import question  # noqa: E402

ROUNDS = 7
LEAST_S = 0.8  # of one variant in one round
LEAST_CALLS = {"fixed32": 60, "fixed128": 1}  # 7 rounds of 60 calls support a p99
NUM_TEXTS = 640  # that the floor is judged on: 128 could not certify a drop of 0.01 even of the original itself
ANSWERS_S = 900  # all variants, to all of these texts
ALPHA = 0.05
ORIGINAL, OURS = "torch eager fp32", "farthing"
WORDS = {"PASS": "kept", "FAIL": "**not kept**", "INCONCLUSIVE": "not certified"}
RESULTS = HERE / "results"
Facts = dict[str, Any]


def main(runs: Path, peers: Path | None, rounds: int) -> None:
    packages = ("torch", "onnxruntime", "openvino", "nncf", "transformers")
    results: Facts = {"versions": {name: metadata.version(name) for name in packages}, "rounds": rounds}
    for job in question.SHAPES:
        results[job] = compare(job, runs / job / "artifact", peers, rounds)
        (RESULTS / "deployment.json").write_text(json.dumps(results, indent=1) + "\n")
        print(table(job, results[job]))
    (RESULTS / "deployment.md").write_text("\n\n".join(table(job, results[job]) for job in question.SHAPES) + "\n")


def compare(job: str, artifact: Path, peers: Path | None, rounds: int) -> Facts:
    batch, length = question.SHAPES[job]
    logs = Path(tempfile.mkdtemp())
    with _worker(logs / "original.log") as worker:
        worker.call(variants.export, logs / "original.onnx")
        flops_per_item = worker.call(variants.flops, batch, length) / batch
    peaks = [_peaks(logs)]
    found, failed = _others(peers / job) if peers else ({}, {})
    named: dict[str, Facts | None] = dict.fromkeys(variants.PLAIN) | found | {OURS: {"form": "farthing", "path": str(artifact)}}
    workers, facts = _open(named, (batch, length, logs / "original.onnx"), logs, failed)
    _judge(workers, facts, failed)
    seconds: dict[str, list[list[float]]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            seconds[name].append(worker.call(variants.one_round, LEAST_S, LEAST_CALLS[job]))
    for worker in workers.values():
        worker.stop()
    peaks.append(_peaks(logs))
    return {
        "batch": batch,
        "length": length,
        "flops_per_item": flops_per_item,
        "one_core_peaks_flops_per_s": {kind: max(p[kind] for p in peaks) for kind in peaks[0]},
        "variants": {name: _facts(facts[name], seconds[name]) for name in workers},
        "failed": failed,
    }


def _open(
    named: dict[str, Facts | None], question_of: tuple[int, int, Path], logs: Path, failed: dict[str, str]
) -> tuple[dict[str, Worker], dict[str, Facts]]:
    """A worker for each variant that opens; what a peer does wrong is its result, and goes to `failed`."""
    workers: dict[str, Worker] = {}
    facts: dict[str, Facts] = {}
    for name, model in named.items():
        worker = _worker(logs / f"{len(workers) + len(failed)}.log")
        try:
            facts[name] = worker.call(variants.open_variant, name, *question_of, model)
            workers[name] = worker
        except (FarthingError, RuntimeError) as error:
            failed[name] = _reason(error)
            worker.stop()
    return workers, facts


def _judge(workers: dict[str, Worker], facts: dict[str, Facts], failed: dict[str, str]) -> None:
    """Hold every variant's answers against the original's; all work at once, since nothing is timed here."""
    for worker in workers.values():
        worker.begin(variants.answers, NUM_TEXTS)
    original = workers[ORIGINAL].finish(ANSWERS_S)
    for name, worker in list(workers.items()):
        try:
            answers = original if name == ORIGINAL else worker.finish(ANSWERS_S)
            facts[name]["floor"] = _floor(original, answers)
        except (FarthingError, RuntimeError) as error:
            failed[name] = _reason(error)
            workers.pop(name).stop()


def _reason(error: Exception) -> str:
    return question.plain(f"{type(error).__name__}: {error}")[:400]


def _worker(log: Path) -> Worker:
    return Worker(log=log, max_rss_bytes=6e9, timeout_s=400)


def _peaks(logs: Path) -> dict[str, float]:
    with _worker(logs / "peaks.log") as worker:
        return dict(worker.call(variants.one_core_peaks))


def _others(folder: Path) -> tuple[dict[str, Facts], dict[str, str]]:
    """What the peers made, and what they failed at."""
    found: dict[str, Facts] = {}
    failed: dict[str, str] = {}
    for file in sorted(folder.glob("*.json")):
        answer = json.loads(file.read_text())
        for flow, facts in answer["flows"].items():
            name = f"{answer['peer']}: {flow}"
            if facts.get("error") or "model" not in facts:
                failed[name] = facts.get("error") or "its process died"
                continue
            model = {"path": str(folder / facts["model"]), "precision": facts["precision"]}
            forms = ("exported", "exported, compiled") if facts["form"] == "exported" else (facts["form"],)
            found |= {name + form.removeprefix(facts["form"]): model | {"form": form} for form in forms}
    return found, failed


def _floor(original: Any, answers: Any) -> Facts:
    floor = Floor(metric="cosine", max_drop=question.MAX_DROP)
    (certificate,) = certify(Evidence(original=original, candidate=answers), floor, alpha=ALPHA)
    return {"verdict": certificate.verdict, "drop": certificate.drop, "upper_bound": certificate.upper_bound}


def _facts(facts: Facts, rounds: list[list[float]]) -> Facts:
    """`core_s_per_item`: one figure a round; the calls themselves are kept, in microseconds."""
    share = facts["threads"] / facts["batch"]
    kept = {key: facts[key] for key in ("what", "batch", "threads", "precision", "floor")}
    calls = [[round(1e6 * second) for second in one] for one in rounds]
    return kept | {"core_s_per_item": [share * statistics.median(one) for one in rounds], "calls_us": calls}


def table(job: str, result: Facts) -> str:
    """Ratios are cost(eager) / cost(variant) round by round: median [least, most]."""
    parts = result["variants"]
    base = parts[ORIGINAL]["core_s_per_item"]
    single = result["batch"] == 1
    lines = [
        f"**{job}**: {result['length']} tokens x {result['batch']}, {len(base)} rounds in turns; "
        f"{result['flops_per_item'] / 1e9:.3f} GFLOP an item; one core's measured peak in GFLOP/s: "
        + ", ".join(f"{kind} {peak / 1e9:.0f}" for kind, peak in result["one_core_peaks_flops_per_s"].items()),
        "",
        f"| variant | times cheaper than {ORIGINAL} | core-ms an item | {'p99 ms | ' if single else ''}% of its peak | "
        "% of float32's | cosine drop, at most | floor |",
        "|---|---|---|---|---|---|---|" + ("---|" if single else ""),
    ]
    for name, facts in sorted(parts.items(), key=lambda item: statistics.median(item[1]["core_s_per_item"])):
        cost_s = statistics.median(facts["core_s_per_item"])
        rate, peaks = result["flops_per_item"] / cost_s, result["one_core_peaks_flops_per_s"]
        own = f"{rate / peaks[facts['precision']]:.0%}" if facts["precision"] in peaks else "?"
        shown = f"**{name}**: {facts['what']}" if name == OURS else name
        p99 = f"{_p99(facts['calls_us'])} | " if single else ""
        bound = f"{facts['floor']['drop']:.4f}, {facts['floor']['upper_bound']:.4f}"
        lines.append(
            f"| {shown} | {_spread(base, facts['core_s_per_item'])} | {1e3 * cost_s:.2f} | {p99}{own} | "
            f"{rate / peaks['float32']:.0%} | {bound} | {WORDS[facts['floor']['verdict']]} |"
        )
    lines += ["", *(f"- {name}: no model. {' '.join(why.split())}" for name, why in result["failed"].items())]
    return "\n".join([*lines, "", _verdict(parts)])


def _verdict(parts: dict[str, Facts]) -> str:
    if OURS not in parts:
        return "farthing's artifact could not be opened: see above."
    others = {n: f for n, f in parts.items() if n != OURS and f["floor"]["verdict"] == "PASS"}
    if not others:
        return "No other variant keeps the floor for certain."
    best = min(others, key=lambda name: statistics.median(others[name]["core_s_per_item"]))
    ratio = _spread(parts[OURS]["core_s_per_item"], others[best]["core_s_per_item"])
    return f"Cost of farthing's choice / cost of the best other that keeps the floor ({best}): {ratio}"


def _spread(over: list[float], under: list[float]) -> str:
    ratios = sorted(a / b for a, b in zip(over, under, strict=True))
    return f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"


def _p99(rounds: list[list[int]]) -> str:
    calls = [call / 1e3 for one in rounds for call in one]
    if len(calls) < samples_needed(99):
        return f"- ({len(calls)} calls)"
    value, low, high = percentile_interval(calls, 99)
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("peers", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    main(asked.runs, asked.peers, asked.rounds)
