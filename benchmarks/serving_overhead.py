"""What a server costs when its model costs nothing: farthing serve, LitServe, FastAPI, BentoML and Ray Serve on one core.

    python benchmarks/serving_overhead.py screen PEERS    (every stated setting once or twice: each peer's best are chosen)
    python benchmarks/serving_overhead.py rounds PEERS    (those in turn with farthing, ROUNDS times)
    python benchmarks/serving_overhead.py inline PEERS    (the model inside or outside, beside FastAPI -> serving_inline.*)
    python benchmarks/serving_overhead.py fronts          (what speaks HTTP before farthing's service -> serving_fronts.*)

PEERS holds an environment each (benchmarks/peers/README.md). The server has core 0, the generator core 1. farthing serves its
smallest artifact, whose model does run, in a process of its own or (`inline`) in that which answers HTTP; the peers answer a
constant. Latency: our open loop at
RATE_PER_S. Peak: a closed loop of CONNECTIONS. On a shared machine `requests per core-second` (peak over the processor time
taken) is what to compare.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import servers
from farthing.bench import Load, bench
from farthing.serving.options import FRONTS
from farthing.testing.artifacts import lookup

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SETTINGS = json.loads((HERE / "peers" / "serving_settings.json").read_text())
del SETTINGS["goodput"]  # of another script
PORT, BODY = 8123, b'{"inputs": [[0, 1, 2, 3]]}'
RATE_PER_S, LATENCY_S, PEAK_S, CONNECTIONS, ROUNDS = 500, 4, 3, 32, 5
TIMEOUT_S, SCREEN_S = 20.0, 2.0
ISOLATED = "isolated"
OURS = (ISOLATED, "inline")
PACKAGES = {"fastapi": "fastapi uvicorn", "litserve": "litserve uvicorn", "bentoml": "bentoml uvicorn", "ray": "ray uvicorn"}
ASKED = "asked: p50 at most 1 ms, p99 at most 5 ms; peak and latency no worse than each of the first three, 5 times Ray's"
Row = dict[str, Any]


def commands(peers: Path, name: str, setting: str, artifact: Path) -> Row:
    """How `servers.running` starts it."""
    if name == "farthing":
        command = [sys.executable, "-m", "farthing.cli", "serve", str(artifact), "--port", str(PORT)]
        asked = [] if setting == ISOLATED else ["--inline"] if setting == "inline" else ["--http", setting]
        return {"command": command + asked, "path": "/v1/predict", "env": {}}
    options, binaries = SETTINGS[name][setting], peers / name / "bin"
    env = {"SETTING": setting, "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(artifact.parent / "bentoml")}
    env |= options.get("env", {}) | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": ""}
    command = [str(binaries / "python"), f"serving_{name}.py", setting, str(PORT)]
    if name == "bentoml":
        command = [str(binaries / "bentoml"), "serve", "serving_bentoml:Service", "--port", str(PORT), "--host", "127.0.0.1"]
    path = {"fastapi": options.get("path"), "ray": "/"}.get(name, "/predict")
    return {"command": command, "path": path, "env": env, "folder": HERE / "peers"}


def measured(peers: Path, name: str, setting: str, artifact: Path, seconds: tuple[float, float]) -> Row:
    peak_s, latency_s = seconds
    row: Row = {"server": name, "setting": setting}
    with servers.running(port=PORT, body=BODY, cores="0", **commands(peers, name, setting, artifact)) as server:
        servers.settle(server)
        servers.peak(server, [BODY], connections=CONNECTIONS, seconds=1.0)
        with servers.Strangers(server=server) as others:
            row["peak_per_s"] = servers.peak(server, [BODY], connections=CONNECTIONS, seconds=peak_s)
        row |= {"peak_strangers": others.cores, "per_core_s": row["peak_per_s"] / others.server_cores}
        load = Load(url=server.url, bodies=(BODY,), rate_per_s=RATE_PER_S, duration_s=latency_s, timeout_s=TIMEOUT_S)
        with servers.Strangers(server=server) as others:
            run = bench(load).runs[0]
        found = {f"p{value.p:g}_s": value.value_s for value in run.percentiles}
        row["poisson"] = found | {
            "goodput_per_s": run.goodput_per_s, "void": run.void, "lag_p99_s": run.lag.p99_s,
            "strangers": others.cores, "server_cores": others.server_cores,
        }  # fmt: skip
    print(json.dumps(row), flush=True)
    return row


def attempt(peers: Path, name: str, setting: str, artifact: Path, seconds: tuple[float, float]) -> Row:
    try:
        return measured(peers, name, setting, artifact, seconds)
    except (RuntimeError, OSError) as error:
        print(name, setting, error, flush=True)
        return {"server": name, "setting": setting, "error": str(error)[:500].replace(str(Path.home()), "~")}


def screen(peers: Path, artifact: Path) -> Row:
    rows = [attempt(peers, name, setting, artifact, (SCREEN_S, SCREEN_S)) for name in SETTINGS for setting in SETTINGS[name]]
    return {"screened": rows, "best": {name: best([row for row in rows if row["server"] == name]) for name in SETTINGS}}


def best(rows: list[Row]) -> list[str]:
    """The setting with the most requests per core-second, and that with the least median latency of those that carried."""
    good = [row for row in rows if "error" not in row]
    carried = [row for row in good if row["poisson"]["goodput_per_s"] > 0.95 * RATE_PER_S] or good
    chosen = [max(good, key=lambda row: row["per_core_s"])["setting"]]
    if carried is good:  # none carried the rate: its latency says nothing
        return chosen
    chosen.append(min(carried, key=lambda row: row["poisson"].get("p50_s", 9.0))["setting"])
    return list(dict.fromkeys(chosen))


def rounds(peers: Path, artifact: Path) -> Row:
    told: Row = json.loads((RESULTS / "serving_overhead.json").read_text())
    turns = [
        *(("farthing", setting) for setting in OURS),
        *((name, setting) for name, chosen in told["best"].items() for setting in chosen),
    ]
    told["rounds"] = []
    for number in range(ROUNDS):
        for name, setting in turns:
            told["rounds"].append({"round": number, **attempt(peers, name, setting, artifact, (PEAK_S, LATENCY_S))})
        (RESULTS / "serving_overhead.json").write_text(json.dumps(told, indent=1) + "\n")
    return told


def fronts(artifact: Path) -> None:
    turns = [("farthing", front) for front in FRONTS]
    rows = in_turn(turns, Path(), artifact)
    found = {name: version(name) for name in FRONTS}
    title = f"What speaks HTTP before the service: {found}"
    (RESULTS / "serving_fronts.json").write_text(json.dumps({"versions": found, "rounds": rows}, indent=1) + "\n")
    (RESULTS / "serving_fronts.md").write_text(compared(title, rows, turns[0]))


def inline(peers: Path, artifact: Path) -> None:
    """The model in the process that answers HTTP, as FastAPI has it, or in one of its own."""
    chosen = json.loads((RESULTS / "serving_overhead.json").read_text())["best"]["fastapi"]
    turns = [("fastapi", setting) for setting in chosen] + [("farthing", setting) for setting in OURS]
    rows = in_turn(turns, peers, artifact)
    told = {"versions": versions(peers), "rounds": rows}
    title = "The model in the process that answers HTTP, as FastAPI has it, or in one of its own"
    (RESULTS / "serving_inline.json").write_text(json.dumps(told, indent=1) + "\n")
    (RESULTS / "serving_inline.md").write_text(compared(title, rows, turns[0]))


def in_turn(turns: list[tuple[str, str]], peers: Path, artifact: Path) -> list[Row]:
    return [
        {"round": number, **attempt(peers, name, setting, artifact, (PEAK_S, LATENCY_S))}
        for number in range(ROUNDS)
        for name, setting in turns
    ]


def compared(title: str, rows: list[Row], to: tuple[str, str]) -> str:
    """Each server's figures, and times those of `to` in the same round."""
    name_of = " ".join
    good = [row for row in rows if "error" not in row]
    first = {row["round"]: row for row in good if (row["server"], row["setting"]) == to}
    lines = [
        f"# {title}", "",
        "One core for the server, whose model costs nothing, one for the generator. Medians [least, greatest] of",
        f"{ROUNDS} interleaved rounds, and times {name_of(to)} of the same round.", "",
        f"| server | peak/s | times | requests per core-second | times | p50 ms at {RATE_PER_S}/s | times | p99 ms | times |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for turn in dict.fromkeys((row["server"], row["setting"]) for row in good):
        mine, cells = [row for row in good if (row["server"], row["setting"]) == turn], []
        figures: tuple[tuple[Callable[[Row], float], int], ...] = (
            (lambda row: row["peak_per_s"], 0),
            (lambda row: row["per_core_s"], 0),
            (lambda row: row["poisson"]["p50_s"] * 1e3, 2),
            (lambda row: row["poisson"]["p99_s"] * 1e3, 2),
        )
        for figure, digits in figures:
            ratios = [figure(row) / figure(first[row["round"]]) for row in mine if row["round"] in first]
            cells += [spread([figure(row) for row in mine], digits), spread(ratios, 2)]
        lines.append(f"| {name_of(turn)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def report(told: Row) -> str:
    lines = [
        "# What a server costs when its model costs nothing", "",
        f"One core for the server, one for the generator; {ASKED}. `serving_overhead.py`; every figure in",
        f"`serving_overhead.json`. Medians [least, greatest] of {ROUNDS} interleaved rounds. Versions: {told['versions']}.",
        f"Others kept {spread([row['peak_strangers'] for row in good(told)], 1)} cores busy meanwhile.", "",
        f"| server | setting | peak/s | requests per core-second | p50 ms at {RATE_PER_S}/s | p99 ms | void |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    turns = dict.fromkeys((row["server"], row["setting"]) for row in good(told))
    for turn in turns:
        mine = [row for row in good(told) if (row["server"], row["setting"]) == turn]
        cells = [spread([row["peak_per_s"] for row in mine], 0), spread([row["per_core_s"] for row in mine], 0)]
        for p in ("p50_s", "p99_s"):
            cells.append(spread([row["poisson"][p] * 1e3 for row in mine if p in row["poisson"]], 2))
        void = sum(row["poisson"]["void"] is not None for row in mine)
        lines.append(f"| {turn[0]} | {turn[1]} | {' | '.join(cells)} | {void} of {len(mine)} |")
    return "\n".join([*lines, "", *ratios(told), "", *screened(told)]) + "\n"


def ratios(told: Row) -> list[str]:
    """farthing over each peer's best setting, round by round."""
    lines = ["| farthing | over | peak | requests per core-second | p50 | p99 |", "|---|---|---|---|---|---|"]
    figures: tuple[tuple[Callable[[Row], float], Callable[..., float]], ...] = (
        (lambda row: row["peak_per_s"], max),
        (lambda row: row["per_core_s"], max),
        (lambda row: row["poisson"].get("p50_s", TIMEOUT_S), min),
        (lambda row: row["poisson"].get("p99_s", TIMEOUT_S), min),
    )
    for name, own in itertools.product(SETTINGS, OURS):
        cells = []
        for figure, better in figures:
            found = []
            for number in range(ROUNDS):
                mine = [row for row in good(told) if (row["round"], row["setting"]) == (number, own)]
                theirs = [row for row in good(told) if (row["round"], row["server"]) == (number, name)]
                if mine and theirs:
                    found.append(figure(mine[0]) / better(figure(row) for row in theirs))
            cells.append(spread(found, 2))
        lines.append(f"| {own} | {name} | {' | '.join(cells)} |")
    return lines


def screened(told: Row) -> list[str]:
    lines = [
        "Every setting that was tried:",
        "",
        "| server | setting | requests per core-second | p50 ms at 500/s |",
        "|---|---|---|---|",
    ]
    for row in told["screened"]:
        if "error" in row:
            lines.append(f"| {row['server']} | {row['setting']} | did not start | |")
            continue
        p50_s = row["poisson"].get("p50_s")
        lines.append(f"| {row['server']} | {row['setting']} | {row['per_core_s']:.0f} | {p50_s and f'{p50_s * 1e3:.2f}'} |")
    return lines


def good(told: Row) -> list[Row]:
    return [row for row in told["rounds"] if "error" not in row]


def spread(values: list[float], digits: int) -> str:
    if not values:
        return "none"
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def versions(peers: Path) -> str:
    found = []
    for name, packages in PACKAGES.items():
        if not (peers / name / "bin").exists():
            continue
        listed = subprocess.run([peers / name / "bin" / "pip", "freeze"], capture_output=True, text=True, check=True).stdout
        pinned = dict(line.split("==") for line in listed.splitlines() if "==" in line)
        found.append(" ".join(f"{package} {pinned[package]}" for package in packages.split()))
    return "; ".join(found)


def main() -> None:
    what, peers = sys.argv[1], Path(*sys.argv[2:]).resolve()
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as folder:
        artifact = lookup(Path(folder), batch_size=64, batch_delay_s=0.0).directory
        if what == "fronts":
            fronts(artifact)
            return
        if what == "inline":
            inline(peers, artifact)
            return
        told = {"screen": screen, "rounds": rounds}[what](peers, artifact)
    told |= {"versions": versions(peers), "asked": ASKED}
    (RESULTS / "serving_overhead.json").write_text(json.dumps(told, indent=1) + "\n")
    if "rounds" in told:
        (RESULTS / "serving_overhead.md").write_text(report(told))


if __name__ == "__main__":
    main()
