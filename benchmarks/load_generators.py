"""farthing bench beside other open-loop tools: the same server, the same rate, taking turns.

python benchmarks/load_generators.py        (httperf from Debian, artillery from npm; one that is not on PATH is left out)

Each request goes on a connection of its own, since httperf and artillery do that. httperf sends Poisson and tells mean, median
(in whole and half milliseconds) and largest. artillery's Poisson mode sent only 0.58 of the rate that it was asked for, so it
is compared at even gaps; its latency counts from when Node came to send, not from the intended time.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from hdrh.histogram import HdrHistogram

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
RATE_PER_S, DURATION_S, ROUNDS = 100, 6, 4
SERVERS = {  # endpoint of tests/bench/server.py, and what is known of it
    "steady": "answers after 5 ms",
    "one_at_a_time": "one after the other, 5 ms each: half busy",
    "stalls": "nothing is answered in the last 0.5 s of every 2 s: a quarter waits, 250 ms in the mean; mean over all 62.5 ms",
}
FIGURES = ("mean_s", "p50_s", "p95_s", "p99_s", "max_s")
Answer = dict[str, object]


def farthing(port: int, path: str, folder: Path, seed: int, arrivals: str = "poisson") -> Answer:
    out = folder / "farthing.json"
    command = [sys.executable, "-m", "farthing.cli", "bench", f"http://127.0.0.1:{port}/{path}", "--generate", "text:8-32"]
    asked = {"--rate": RATE_PER_S, "--duration": DURATION_S, "--warmup": 0, "--seed": seed, "--out": out}
    asked |= {"--arrivals": arrivals}
    command += [str(word) for pair in asked.items() for word in pair]
    subprocess.run([*command, "--header", "Connection: close"], capture_output=True, text=True, check=False)
    run = json.loads(out.read_text())["runs"][0]
    latencies = HdrHistogram.decode(run["histogram"])
    found = {f"p{p}_s": latencies.get_value_at_percentile(p) / 1e6 for p in (50, 95, 99)}
    found |= {"mean_s": latencies.get_mean_value() / 1e6, "max_s": run["max_s"], "send_lag_p99_s": run["lag"]["p99_s"]}
    return found | {"num_good": run["num_good"], "offered_per_s": run["offered_per_s"], "void": run["void"]}


def httperf(port: int, path: str, folder: Path, seed: int) -> Answer:
    session = folder / "session"
    session.write_text(f'/{path} method=POST contents="1"\n')
    command = ["httperf", "--server", "127.0.0.1", "--port", str(port), "--wsesslog", f"{RATE_PER_S * DURATION_S},0,{session}"]
    command += ["--period", f"e{1 / RATE_PER_S}", "--timeout", "10", "--add-header", "Content-Type: application/json\\n"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    times = re.search(r"Connection time \[ms\]: min \S+ avg (\S+) max (\S+) median (\S+)", text)
    good, rate = re.search(r"2xx=(\d+)", text), re.search(r"Connection rate: (\S+) conn/s", text)
    assert times and good and rate, text
    mean, largest, median = (float(word) / 1e3 for word in times.groups())
    return {"mean_s": mean, "max_s": largest, "p50_s": median, "num_good": int(good[1]), "offered_per_s": float(rate[1])}


def artillery(port: int, path: str, folder: Path, seed: int) -> Answer:
    script, out = folder / "artillery.json", folder / "answer.json"
    phase = {"duration": DURATION_S, "arrivalRate": RATE_PER_S}
    post = {"post": {"url": f"/{path}", "json": "a few words"}}
    asked = {"config": {"target": f"http://127.0.0.1:{port}", "phases": [phase]}, "scenarios": [{"flow": [post]}]}
    script.write_text(json.dumps(asked))
    subprocess.run(
        ["artillery", "run", "--quiet", "--output", str(out), str(script)],
        capture_output=True, text=True, check=True, env=os.environ | {"ARTILLERY_DISABLE_TELEMETRY": "true"},
    )  # fmt: skip
    told = json.loads(out.read_text())["aggregate"]
    times = told["summaries"]["http.response_time"]
    names = {"mean_s": "mean", "p50_s": "p50", "p95_s": "p95", "p99_s": "p99", "max_s": "max"}
    sent_s = (told["lastMetricAt"] - told["firstMetricAt"]) / 1e3
    found: Answer = {ours: times[theirs] / 1e3 for ours, theirs in names.items()}
    return found | {"num_good": told["counters"]["http.codes.200"], "offered_per_s": told["counters"]["http.requests"] / sent_s}


def farthing_even(port: int, path: str, folder: Path, seed: int) -> Answer:
    return farthing(port, path, folder, seed, arrivals="constant")


TOOLS = {
    "farthing, Poisson": farthing,
    "httperf, Poisson": httperf,
    "farthing, even gaps": farthing_even,
    "artillery, even gaps": artillery,
}


def main() -> None:
    tools = {name: tool for name, tool in TOOLS.items() if name.startswith("farthing") or shutil.which(name.split(",")[0])}
    rows = []
    command = [sys.executable, str(ROOT / "tests" / "bench" / "server.py")]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().split()[0])
            for turn in range(ROUNDS):
                for path in SERVERS:
                    for name, tool in tools.items():
                        rows.append({"round": turn, "server": path, "tool": name} | tool(port, path, Path(folder), turn))
                        print(rows[-1], flush=True)
        finally:
            server.kill()
    told = {"rate_per_s": RATE_PER_S, "duration_s": DURATION_S, "servers": SERVERS, "versions": versions(tools), "runs": rows}
    (RESULTS / "load_generators.json").write_text(json.dumps(told, indent=1) + "\n")
    (RESULTS / "load_generators.md").write_text(report(told))


def versions(tools: dict[str, object]) -> dict[str, str]:
    found = {"farthing": "this tree"}
    if "httperf, Poisson" in tools:
        found["httperf"] = subprocess.run(["httperf", "--version"], capture_output=True, text=True).stdout.split()[0]
    if "artillery, even gaps" in tools:
        text = subprocess.run(["artillery", "--version"], capture_output=True, text=True).stdout
        found["artillery"] = (re.search(r"Artillery:\s*(\S+)", text) or [text, text.strip()])[1]
    return found


def report(told: dict[str, object]) -> str:
    lines = [
        "# farthing bench beside other open-loop tools", "",
        f"{RATE_PER_S} requests/s, {DURATION_S} s, {ROUNDS} rounds in turn, each request on a connection of its own. Median",
        "over the rounds [least, greatest], milliseconds. `load_generators.py`; raw figures in `load_generators.json`.", "",
        "| server | tool | offered/s | mean | p50 | p95 | p99 | max |", "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    runs = told["runs"]
    assert isinstance(runs, list)
    for path in SERVERS:
        for tool in dict.fromkeys(row["tool"] for row in runs):
            mine = [row for row in runs if (row["server"], row["tool"]) == (path, tool)]
            offered = statistics.median(row["offered_per_s"] for row in mine)
            cells = [_spread([row[name] * 1e3 for row in mine if row.get(name) is not None]) for name in FIGURES]
            void = sum(row.get("void") is not None for row in mine)
            lines.append(
                f"| {path} | {tool}{f' ({void} of {len(mine)} void)' if void else ''} | {offered:.1f} | {' | '.join(cells)} |"
            )
    return "\n".join([*lines, "", *(f"- {path}: {known}." for path, known in SERVERS.items())]) + "\n"


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} [{min(values):.1f}, {max(values):.1f}]" if values else "not told"


if __name__ == "__main__":
    main()
