"""What the exact cache is worth behind `farthing serve`: throughput and USD per million with and without it, in turns.

    FARTHING_DATA=... python benchmarks/serving_cache.py NAME=ARTIFACT [...]    -> results/serving_cache.json, .md

Texts of CLINC-150, closed loop over CONNECTIONS connections. Two streams: Zipf over all distinct texts (skew ZIPF), and every
text once. Two servers, with and without `--cache memory`, take turns of so many requests; ratios are of neighbouring turns.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
ZIPF, CONNECTIONS = 1.0, 8
TURNS = {"zipf": (6, 1_500), "once": (16, 500)}  # of each pair of servers: how many, of so many requests
WARM = 300


def main(*artifacts: str) -> None:
    texts = _texts()
    rows = []
    for named in artifacts:
        name, _, folder = named.partition("=")
        for stream in TURNS:
            rows.append({"artifact": name, "stream": stream} | _measured(Path(folder), stream, texts))
            print(rows[-1]["artifact"], stream, rows[-1]["ratio"], flush=True)
    (RESULTS / "serving_cache.json").write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / "serving_cache.md").write_text("\n".join(_table(rows)) + "\n")


def _texts() -> list[str]:
    whole = json.loads((Path(os.environ["FARTHING_DATA"]) / "clinc150" / "data_full.json").read_text())
    texts = list(dict.fromkeys(text for part in sorted(whole) for text, _ in whole[part]))
    return [texts[i] for i in np.random.default_rng(0).permutation(len(texts))]


def _measured(folder: Path, stream: str, texts: list[str]) -> dict[str, Any]:
    """Each pair of servers is started twice, in either order: two equal processes may differ by some percent for life."""
    turns: list[dict[str, Any]] = []
    for order in (("without", "with"), ("with", "without")):
        more, last = _turns(folder, stream, texts, order)
        turns += more
    ratios = {
        state: [float(q) for q in np.quantile([t["with"] / t["without"] for t in chosen], (0.5, 0.25, 0.75))]
        for state, chosen in (("on", [t for t in turns if t["was_on"]]), ("off", [t for t in turns if not t["was_on"]]))
        if chosen
    }
    return {"ratio": ratios, "turns": turns, "cache": last["cache"], "predicted": last["predicted_usd_per_million"]}


def _turns(folder: Path, stream: str, texts: list[str], order: tuple[str, ...]) -> tuple[list[dict[str, Any]], Any]:
    num_turns, size = TURNS[stream]
    draw = np.random.default_rng(1)
    warm, texts = texts[:WARM], texts if stream == "zipf" else texts[WARM:]
    chance = 1.0 / np.arange(1, len(texts) + 1) ** ZIPF
    servers = {name: _started(folder, *(("--cache", "memory") if name == "with" else ())) for name in order}
    turns: list[dict[str, Any]] = []
    try:
        for _, port in servers.values():
            asyncio.run(_driven(port, warm))
        for turn in range(num_turns):
            picked = draw.choice(len(texts), size, p=chance / chance.sum())
            asked = [texts[i] for i in picked] if stream == "zipf" else texts[turn * size : (turn + 1) * size]
            row: dict[str, Any] = {"was_on": _receipt(servers["with"][1])["cache"]["is_on"], "started": order}
            for name in ("without", "with") if turn % 2 else ("with", "without"):
                row |= _turn(name, servers[name][1], asked)
            turns.append(row)
        return turns, _receipt(servers["with"][1])
    finally:
        for process, _ in servers.values():
            process.send_signal(signal.SIGTERM)
            process.wait()


def _turn(name: str, port: int, asked: list[str]) -> dict[str, float]:
    before = _receipt(port)
    rate = len(asked) / asyncio.run(_driven(port, asked))
    after = _receipt(port)
    return {
        name: rate,
        f"{name}_usd": (after["usd"] - before["usd"]) / len(asked) * 1e6,
        f"{name}_kept": (after["num_from_cache"] - before["num_from_cache"]) / len(asked),
    }


def _started(folder: Path, *options: str) -> tuple["subprocess.Popen[str]", int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "farthing.cli", "serve", str(folder), "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("serving"), line
    return process, port


def _receipt(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/receipt") as reply:
        told: dict[str, Any] = json.load(reply)
        return told


async def _driven(port: int, texts: list[str]) -> float:
    """Seconds until all are answered; each connection asks its next when it has its answer."""
    waiting = iter(texts)

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for text in waiting:
            body = json.dumps(text).encode()
            writer.write(b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(length)
        writer.close()

    started_s = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return time.perf_counter() - started_s


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "# The exact cache behind the server",
        "",
        f"Texts of CLINC-150 over {CONNECTIONS} connections in a closed loop; Zipf skew {ZIPF:g} over all distinct texts, or",
        "each text once. Ratios of neighbouring turns, median [quartiles]; USD are those of the receipt, means over the turns.",
        "",
        "| artifact | stream | the cache | requests/s with / without | kept answers | USD per million with | without |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for state, (middle, low, high) in row["ratio"].items():
            turns = [turn for turn in row["turns"] if turn["was_on"] == (state == "on")]
            kept, usd, bare = (float(np.mean([t[k] for t in turns])) for k in ("with_kept", "with_usd", "without_usd"))
            lines.append(
                f"| {row['artifact']} | {row['stream']} | {state}, {len(turns)} turns | {middle:.2f} [{low:.2f}, {high:.2f}] "
                f"| {kept:.1%} | {usd:.3g} | {bare:.3g} |"
            )
    return [*lines, "", *(f"- {row['artifact']}, {row['stream']}: {row['cache']['why']}" for row in rows)]


if __name__ == "__main__":
    main(*sys.argv[1:])
