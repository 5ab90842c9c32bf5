"""An hour at saturation: does `farthing serve` restart a replica that is only busy, or lose memory?

    python benchmarks/soak.py [MINUTES]

Two replicas of the artifact of `farthing.testing.artifacts`; NUM_CLIENTS connections, each sending as soon as it has its
answer: most of them one item, some many, some with a deadline that cannot be kept, some that the model cannot take or that make
it fail; some clients hang up before the answer. Every SAMPLE_S the resident memory of each process, its open files, restarts,
liveness and the items in quarantine are noted, and the longest that this script itself stood still (others may hold the
machine). The slope of memory is fitted by least squares after a warm-up of WARM_SHARE of the time, in which the quarantine
fills up to its bound; its standard error is of the means of BLOCK samples each, since neighbouring samples are alike. The
verdict goes by that slope, of all that is resident and of that without files; that of the second half tells whether the growth
goes on.
"""

import asyncio
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

import numpy as np
import psutil

from farthing.testing.artifacts import NUM_IDS, lookup

RESULTS = Path(__file__).parent / "results"
NUM_CLIENTS = 64
SAMPLE_S = 10.0
TICK_S = 0.1
ANSWER_S = 60.0  # of /healthz and /metrics
WARM_SHARE = 1 / 6
BLOCK = 10
MOST_SLOPE = 1e6  # bytes an hour
MIX = {"one": 0.90, "many": 0.05, "deadline": 0.02, "bad shape": 0.01, "poison": 0.01, "hangs up": 0.01}
JSON = "content-type: application/json\r\n"
Sample = dict[str, float]


def main(minutes: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        artifact = lookup(Path(folder), batch_size=8, batch_delay_s=0.002)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "farthing.cli",
            "serve",
            str(artifact.directory),
            "--port",
            str(port),
            "--replicas",
            "2",
        ]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        try:
            assert server.stdout is not None
            print(server.stdout.readline().strip(), flush=True)
            told = asyncio.run(soak(server, port, minutes * 60))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    told["exit_code"] = server.returncode
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "soak.json").write_text(json.dumps(told, indent=1) + "\n")
    (RESULTS / "soak.md").write_text(page(told))
    print(page(told))


async def soak(server: "subprocess.Popen[str]", port: int, seconds: float) -> dict[str, object]:
    samples: list[Sample] = []
    counts: Counter[str] = Counter()
    stop = asyncio.Event()
    clients = [asyncio.create_task(client(port, number, counts, stop)) for number in range(NUM_CLIENTS)]
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        stood_still_s = await longest_pause_s(SAMPLE_S)
        samples.append(await asyncio.to_thread(sampled, server.pid, port, time.monotonic() - began, counts.total()))
        samples[-1]["stood_still_s"] = stood_still_s
    stop.set()
    await asyncio.gather(*clients)
    return {"seconds": seconds, "num_clients": NUM_CLIENTS, "mix": MIX, "counts": dict(counts), "samples": samples}


async def longest_pause_s(seconds: float) -> float:
    """Wait so long; the most by which a short sleep meanwhile took longer than it should."""
    began, longest_s = time.monotonic(), 0.0
    while time.monotonic() - began < seconds:
        slept = time.monotonic()
        await asyncio.sleep(TICK_S)
        longest_s = max(longest_s, time.monotonic() - slept - TICK_S)
    return longest_s


def sampled(pid: int, port: int, at_s: float, num_asked: int) -> Sample:
    """Of each process resident bytes and open files; restarts and liveness as the server tells them."""
    server = psutil.Process(pid)
    found: Sample = {"at_s": at_s, "num_asked": num_asked, "server_bytes": server.memory_info().rss, "files": server.num_fds()}
    found["server_own"] = own(server)
    for child in server.children():
        found[f"replica_{child.pid}_bytes"] = child.memory_info().rss
        found[f"replica_{child.pid}_own"] = own(child)
    found["cpu_s"] = sum(sum(process.cpu_times()[:2]) for process in (server, *server.children()))
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=ANSWER_S) as answer:
            found["live"] = answer.status == 200
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=ANSWER_S) as answer:
            lines = [line.split() for line in answer.read().decode().splitlines() if not line.startswith("#")]
        page = {line[0]: float(line[1]) for line in lines if len(line) == 2}
        found["restarts"] = page["farthing_replica_restarts"]
        found["waiting"], found["quarantined"] = page["farthing_waiting"], page["farthing_quarantined"]
    except OSError:
        found["live"] = False
    return found


def own(process: psutil.Process) -> float:
    """Resident bytes without those of files, which the kernel maps in and drops as it likes."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024


async def client(port: int, seed: int, counts: Counter[str], stop: asyncio.Event) -> None:
    """One connection after the other, never idle."""
    draw = random.Random(seed)
    while not stop.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            counts["no connection"] += 1
            await asyncio.sleep(0.1)
            continue
        try:
            while not stop.is_set():
                (kind,) = draw.choices(list(MIX), weights=list(MIX.values()))
                writer.write(asked(kind, draw))
                if kind == "hangs up":
                    counts[kind] += 1
                    break
                counts[f"{kind}: {await answered(reader)}"] += 1
        except (OSError, asyncio.IncompleteReadError):
            counts["hung up on"] += 1
        finally:
            writer.close()


def asked(kind: str, draw: random.Random) -> bytes:
    ids: object = [draw.randrange(NUM_IDS) for _ in range(4)]
    more = "x-deadline-ms: 0.5\r\n" if kind == "deadline" else ""
    if kind == "many":
        ids = {"items": [[draw.randrange(NUM_IDS) for _ in range(4)] for _ in range(16)]}
    elif kind == "bad shape":
        ids = [1, 2, 3]
    elif kind == "poison":
        ids = [draw.randrange(NUM_IDS), draw.randrange(NUM_IDS), draw.randrange(NUM_IDS), NUM_IDS + draw.randrange(1000)]
    body = json.dumps(ids)
    return f"POST /v1/predict HTTP/1.1\r\nhost: a\r\n{JSON}{more}content-length: {len(body)}\r\n\r\n{body}".encode()


async def answered(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head[9:12])


def slope(samples: list[Sample], name: str, skipped: float = WARM_SHARE) -> tuple[float, float]:
    """(bytes an hour, its standard error) of what was sampled after the warm-up, or after another share of the time."""
    kept = [sample for sample in samples if sample["at_s"] >= skipped * samples[-1]["at_s"] and name in sample]
    if len(kept) < 3:
        return math.nan, math.nan
    size = BLOCK if len(kept) >= 3 * BLOCK else 1
    whole = len(kept) // size * size
    hours = np.array([sample["at_s"] for sample in kept])[:whole].reshape(-1, size).mean(axis=1) / 3600
    values = np.array([sample[name] for sample in kept])[:whole].reshape(-1, size).mean(axis=1)
    centred = hours - hours.mean()
    fitted = float(centred @ values / (centred @ centred))
    rest = values - values.mean() - fitted * centred
    return fitted, float(np.sqrt(rest @ rest / (len(values) - 2) / (centred @ centred)))


def full_at_s(samples: list[Sample]) -> float:
    """When the quarantine first held as many as it ever did."""
    return next(sample["at_s"] for sample in samples if sample.get("quarantined", 0.0) == most(samples, "quarantined"))


def most(samples: list[Sample], name: str) -> float:
    return max(sample.get(name, 0.0) for sample in samples)


def told_name(name: str) -> str:
    process = name.partition("_")[0]
    return f"{process}, files apart" if name.endswith("_own") else process


def page(told: dict[str, object]) -> str:
    samples: list[Sample] = told["samples"]  # type: ignore[assignment]
    counts: dict[str, int] = told["counts"]  # type: ignore[assignment]
    names = sorted({name for sample in samples for name in sample if name.endswith("_bytes")}, reverse=True)
    owned = sorted({name for sample in samples for name in sample if name.endswith("_own")}, reverse=True)
    slopes = {name: slope(samples, name) for name in (*names, *owned)}
    restarts = most(samples, "restarts")
    dead = sum(not sample["live"] for sample in samples)
    grows = [name for name in slopes if not slopes[name][0] < MOST_SLOPE]
    verdict = "passed" if not (restarts or dead or grows or len(names) != 3) else "FAILED"
    served = (samples[-1]["num_asked"] - samples[0]["num_asked"]) / (samples[-1]["at_s"] - samples[0]["at_s"])
    cpu = (samples[-1]["cpu_s"] - samples[0]["cpu_s"]) / (samples[-1]["at_s"] - samples[0]["at_s"])
    rows = [
        f"| {told_name(name)} | {samples[0].get(name, math.nan) / 1e6:.1f} | "
        f"{samples[-1].get(name, math.nan) / 1e6:.1f} | {fitted / 1e6:+.3f} | {error / 1e6:.3f} | "
        f"{slope(samples, name, 0.5)[0] / 1e6:+.3f} |"
        for name, (fitted, error) in slopes.items()
    ]
    told_counts = [f"| {kind} | {count:,} |" for kind, count in sorted(counts.items())]
    return "\n".join(
        [
            f"**Soak: {verdict}.** {samples[-1]['at_s'] / 60:.0f} minutes, {NUM_CLIENTS} clients that never pause, "
            f"{served:,.0f} requests/s, {cpu:.2f} cores busy in server and replicas.",
            "",
            f"Restarts: {restarts:.0f}. Samples in which `/healthz` said no: {dead} of {len(samples)}. "
            f"Items in quarantine: {most(samples, 'quarantined'):,.0f} at most, first so many after "
            f"{full_at_s(samples):,.0f} s. The load itself stood still for "
            f"{most(samples, 'stood_still_s'):.1f} s at most. "
            f"Open files of the server: {min(sample['files'] for sample in samples):.0f} to "
            f"{max(sample['files'] for sample in samples):.0f}. Exit code at SIGTERM: {told['exit_code']}.",
            "",
            "| process | MB at first | MB at last | MB an hour | standard error | in the second half alone |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            "| what was sent: status | requests |",
            "|---|---|",
            *told_counts,
            "",
        ]
    )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)
