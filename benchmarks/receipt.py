"""Does the service foresee the next half hour? Learned on one half of the Azure trace, forecast and driven on the other.

    FARTHING_DATA=... python benchmarks/receipt.py ARTIFACT [BATCH] [DEADLINE_S]

Arrivals and lengths are those of AzureLLMInferenceTrace_conv.csv: gaps scaled to a rate, ContextTokens divided by SHRINK (the
model takes 128 tokens). While the first half is driven the service learns what it tells at /v1/learned; from that and the
second half's arrivals and lengths `farthing.serving.forecast` says what rate takes UTILIZATION of the replica's time, what a
request will cost there and how long it will take. Then that half is driven. One replica on core 0, the generator on core 1.
With DEADLINE_S every request brings it, and the forecast also says which share will be refused.
"""

import csv
import http.client
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import servers
from farthing import pipeline as pipelines
from farthing.artifact import load
from farthing.bench import Load, Run, bench
from farthing.bench.load import send_times
from farthing.serving.forecast import Learned, forecast, rate_at
from farthing.traffic import read_trace
from farthing.types import Array
from serving_goodput import planned, texts
from serving_overhead import spread

RESULTS = Path(__file__).parent / "results"
TRACE = "arrivals/AzureLLMInferenceTrace_conv.csv"
PORT, ROUNDS, SHRINK, UTILIZATION, FIRST_UTILIZATION, TIMEOUT_S = 8126, 2, 32, 0.6, 0.6, 30.0
Row = dict[str, Any]


class Half:
    """Half of the trace: its gaps as a trace file, and a body for each of its requests with as many tokens, scaled."""

    def __init__(self, file: Path, times_s: Array, num_tokens: Array, artifact: Path) -> None:
        file.write_text("TIMESTAMP\n" + "\n".join(map(repr, times_s.tolist())) + "\n")
        self.file, self.times_s = file, times_s
        pipeline = load(artifact).pipeline
        words = " ".join(texts()).split()
        wanted = np.maximum(1, np.ceil(num_tokens / SHRINK)).astype(int)
        made = {n: self._text(n, words, pipeline) for n in set(wanted.tolist())}
        self.bodies = tuple(json.dumps(made[n][0]).encode() for n in wanted.tolist())
        self.lengths = np.array([made[n][1] for n in wanted.tolist()])

    @staticmethod
    def _text(num_tokens: int, words: list[str], pipeline: Any) -> tuple[str, int]:
        """The longest run of words with at most so many tokens, and how many it has."""
        start, found = num_tokens * 97 % 5000, (words[0], 3)
        for end in range(start + 1, start + num_tokens + 1):
            text = " ".join(words[start:end])
            (encoded,) = pipelines.encode(pipeline, [(text,)])
            length = pipelines.length(encoded, pipeline)
            if length > num_tokens and end > start + 1:
                break
            found = (text, length)
        return found

    def load(self, url: str, rate_per_s: float, seed: int, deadline_s: float = math.inf) -> tuple[Load, Array, Array]:
        """What to drive, when each request is sent, and its length: each arrival keeps its own."""
        start = int(np.random.default_rng(seed).integers(len(self.times_s) - 1))  # as farthing.traffic.arrivals draws it
        bodies = self.bodies[start + 1 :] + self.bodies[: start + 1]
        asked = Load(
            url=url, bodies=bodies, rate_per_s=rate_per_s, duration_s=len(bodies) / rate_per_s, arrivals="trace",
            trace=self.file, warmup_s=0.0, timeout_s=TIMEOUT_S, seed=seed,
            headers=(("X-Deadline-Ms", f"{deadline_s * 1e3:g}"),) if math.isfinite(deadline_s) else (),
        )  # fmt: skip
        at_s = send_times(asked)
        return asked, at_s, np.resize(np.roll(self.lengths, -(start + 1)), len(at_s))


def halves(folder: Path, artifact: Path) -> tuple[Half, Half]:
    file = Path(os.environ["FARTHING_DATA"]) / TRACE
    times_s = read_trace(file)
    with file.open(newline="") as rows:
        num_tokens = np.array([int(row["ContextTokens"]) for row in csv.DictReader(rows)])
    middle = int(np.searchsorted(times_s, (times_s[0] + times_s[-1]) / 2))
    return (
        Half(folder / "first.csv", times_s[:middle], num_tokens[:middle], artifact),
        Half(folder / "second.csv", times_s[middle:], num_tokens[middle:], artifact),
    )


def told(path: str) -> Row:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    connection.request("GET", path)
    found: Row = json.loads(connection.getresponse().read())
    connection.close()
    return found


def started(artifact: Path) -> Row:
    command = [sys.executable, "-m", "farthing.cli", "serve", str(artifact), "--port", str(PORT), "--replicas", "1"]
    return {"command": command, "port": PORT, "path": "/v1/predict", "body": b'"warm"', "cores": "0,1"}


def driven(server: servers.Server, asked: Load) -> Row:
    before, before_s = told("/v1/receipt"), server.cpu_s()
    with servers.Strangers(server=server) as others:
        run = bench(asked).runs[0]
    after, num = told("/v1/receipt"), run.num_good
    return {
        "rate_per_s": run.rate_per_s, "num_sent": run.num_sent, "failures": run.failures, "shed": run.num_shed,
        "share_refused": 1.0 - num / run.num_sent, "void": run.void, "lag_p99_s": run.lag.p99_s,
        "busy_s": (after["busy_s"] - before["busy_s"]) / num, "core_s": (server.cpu_s() - before_s) / num,
        "strangers": others.cores, **percentiles(run), "learned": told("/v1/learned"),
    }  # fmt: skip


def percentiles(run: Run) -> Row:
    found = {f"p{value.p:g}_s": value.value_s for value in run.percentiles}
    (p99,) = [value for value in run.percentiles if value.p == 99]
    return found | {"p99_low_s": p99.low_s, "p99_high_s": p99.high_s}


def one_round(number: int, artifact: Path, first: Half, second: Half, guess_per_s: float, deadline_s: float) -> Row:
    with servers.running(**started(artifact)) as server:
        asked, _, _ = first.load(server.url, guess_per_s, number, deadline_s)
        fitted = driven(server, asked)
        learned = Learned.read(fitted["learned"])
        _, unit_s, lengths = second.load(server.url, 1.0, number)
        rate = rate_at(learned, lengths, UTILIZATION, unit_s)
        asked, at_s, lengths = second.load(server.url, rate, number, deadline_s)
        foretold = forecast(learned, at_s, lengths, deadline_s=deadline_s)
        measured = driven(server, asked)
    predicted = {
        "busy_s": foretold.busy_s_per_request,
        "core_s": foretold.core_s_per_request,
        "utilization": foretold.utilization,
    }
    predicted["share_refused"] = foretold.share_refused
    predicted |= {f"p{p:g}_s": foretold.percentile_s(p) for p in (50, 90, 95, 99)}
    ratios = {name: measured[name] / predicted[name] for name in ("busy_s", "core_s", "p50_s", "p90_s", "p99_s")}
    row = {"round": number, "first": fitted, "predicted": predicted, "second": measured, "measured_over_predicted": ratios}
    print(json.dumps({**row, "first": None, "second": {**measured, "learned": None}}), flush=True)
    return row


def guess(artifact: Path, half: Half) -> float:
    """A rate for the first half: the share FIRST_UTILIZATION of a closed loop's."""
    with servers.running(**started(artifact)) as server:
        servers.peak(server, half.bodies[:200], connections=2, seconds=1.0)
        return FIRST_UTILIZATION * servers.peak(server, half.bodies[:2000], connections=2, seconds=4.0)


def report(told: Row) -> str:
    lines = [
        "# The receipt: forecast against measured", "",
        f"Azure trace, learned on its first half, forecast and driven on its second at {UTILIZATION:.0%} of one replica's",
        f"time; ContextTokens / {SHRINK}. {ROUNDS} rounds, each begun anew. `receipt.py`; every figure in `receipt.json`.",
        "Asked: core-seconds within 10%, p99 within 20%. busy: seconds in the model, which the receipt bills; core: of all",
        "processes, HTTP included.", "",
        "| plan | | forecast | measured | measured over forecast |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for plan, rounds in told["plans"].items():
        for name, label in (
            ("busy_s", "busy ms a request"),
            ("core_s", "core ms a request"),
            ("p50_s", "p50 ms"),
            ("p99_s", "p99 ms"),
        ):
            cells = [spread([row[side][name] * 1e3 for row in rounds], 2) for side in ("predicted", "second")]
            lines.append(f"| {plan} | {label} | {' | '.join(cells)} | {spread(ratios(rounds, name), 3)} |")
        if "deadline" in plan:
            cells = [spread([row[side]["share_refused"] * 100 for row in rounds], 1) for side in ("predicted", "second")]
            lines.append(f"| {plan} | refused, % | {' | '.join(cells)} | |")
    return "\n".join(lines) + "\n"


def ratios(rounds: list[Row], name: str) -> list[float]:
    return [row["measured_over_predicted"][name] for row in rounds]


def main() -> None:
    artifact, batch = Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    deadline_s = float(sys.argv[3]) if len(sys.argv) > 3 else math.inf
    os.sched_setaffinity(0, {1})
    file = RESULTS / "receipt.json"
    told: Row = json.loads(file.read_text()) if file.exists() else {"plans": {}}
    with tempfile.TemporaryDirectory() as folder:
        chosen = planned({"replicas": 1, "batch": batch, "bucketing": batch > 1, "threads": 1}, artifact, Path(folder))
        first, second = halves(Path(folder), artifact)
        rate = guess(chosen, first)
        plan = f"batches of {batch}" + (f", deadline {deadline_s * 1e3:g} ms" if math.isfinite(deadline_s) else "")
        rounds = told["plans"][plan] = []
        for number in range(ROUNDS):
            rounds.append(one_round(number, chosen, first, second, rate, deadline_s))
            file.write_text(json.dumps(told, indent=1) + "\n")
    (RESULTS / "receipt.md").write_text(report(told))


if __name__ == "__main__":
    main()
