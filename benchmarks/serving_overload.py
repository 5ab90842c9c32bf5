"""Three times what it can carry, for ten minutes: what is still answered in time, how late, and whether memory grows.

    python benchmarks/serving_overload.py ARTIFACT [BATCH] [SECONDS]

Poisson arrivals of real texts (examples/minilm.py), to be answered in SLO_S, of which the server is given LEFT_S. One
replica on core 0; HTTP and the generator share core 1. Capacity is a closed loop's answers per second, or the knee of a
sweep at p99 <= SLO_S, before or after, without deadlines: the greatest counts. Resident memory of every process is taken
every SAMPLE_S; its slope is `soak.slope`'s, after the first sixth.
"""

import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import servers
from farthing.bench import Load, bench
from receipt import started, told
from serving_goodput import LEFT_S, SLO_S, bodies, planned, texts
from soak import MOST_SLOPE, own, slope, told_name

RESULTS = Path(__file__).parent / "results"
OVERLOAD, SECONDS, SAMPLE_S, SWEEP_S, TIMEOUT_S, CONNECTIONS = 3.0, 600.0, 5.0, 6.0, 5.0, 8
Row = dict[str, Any]


@contextmanager
def sampled(server: servers.Server) -> Iterator[list[Row]]:
    """Resident bytes of the process that answers HTTP and of each replica, while this is open."""
    samples: list[Row] = []
    over, began = threading.Event(), monotonic()

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            front, *replicas = server.family()
            found: Row = {"at_s": monotonic() - began, "server_bytes": front.memory_info().rss, "files": front.num_fds()}
            found["server_own"] = own(front)
            for one in replicas:
                found[f"replica_{one.pid}_bytes"] = one.memory_info().rss
                found[f"replica_{one.pid}_own"] = own(one)
            samples.append(found)

    watcher = threading.Thread(target=sample)
    watcher.start()
    try:
        yield samples
    finally:
        over.set()
        watcher.join()


def capacity(server: servers.Server, load: Load) -> Row:
    closed_per_s = servers.peak(server, load.bodies, connections=CONNECTIONS, seconds=SWEEP_S)
    done = bench(replace(load, rate_per_s=0.8 * closed_per_s, duration_s=SWEEP_S), sweep=True)
    knee_per_s = done.knee.goodput_per_s if done.knee else 0.0
    return {"closed_per_s": closed_per_s, "knee_per_s": knee_per_s, "stopped": done.stopped}


def driven(artifact: Path, seconds: float) -> Row:
    asked = bodies("farthing", texts())
    with servers.running(**started(artifact)) as server:
        servers.peak(server, asked, connections=CONNECTIONS, seconds=2.0)
        load = Load(url=server.url, bodies=asked, rate_per_s=100.0, slo_p99_s=SLO_S, timeout_s=TIMEOUT_S)
        before = capacity(server, load)
        over = replace(
            load, rate_per_s=OVERLOAD * max(before["closed_per_s"], before["knee_per_s"]), duration_s=seconds,
            headers=(("X-Deadline-Ms", f"{LEFT_S * 1e3:g}"),), seed=1,
        )  # fmt: skip
        with servers.Strangers(server=server) as others, sampled(server) as samples:
            run = bench(over).runs[0]
        after = capacity(server, load)
        billed = told("/v1/receipt")
    return {
        "capacity": {"before": before, "after": after}, "seconds": seconds, "offered_per_s": run.offered_per_s,
        "goodput_per_s": run.goodput_per_s, "num_sent": run.num_sent, "num_good": run.num_good, "in_time": run.num_in_time,
        "shed": run.num_shed, "failures": run.failures, "void": run.void, "lag_p99_s": run.lag.p99_s,
        "percentiles": {f"p{value.p:g}_s": value.value_s for value in run.percentiles}, "max_s": run.max_s,
        "strangers": others.cores, "server_cores": others.server_cores, "samples": samples,
        "receipt": billed,
    }  # fmt: skip


def report(told: Row) -> str:
    known = [told["capacity"][when][how] for when in ("before", "after") for how in ("closed_per_s", "knee_per_s")]
    share = told["goodput_per_s"] / max(known)
    names = sorted({name for sample in told["samples"] for name in sample if name.endswith(("_bytes", "_own"))}, reverse=True)
    p99_s = told["percentiles"]["p99_s"]
    late = sum(told["failures"].values())
    lines = [
        "# Three times the load that can be carried", "",
        f"{told['seconds'] / 60:.0f} minutes at {told['offered_per_s']:.0f} requests/s, each to be answered in",
        f"{SLO_S * 1e3:.0f} ms; capacity: closed loop {known[0]:.0f}/s before and {known[2]:.0f}/s after, knee at that p99",
        f"{known[1]:.0f}/s and {known[3]:.0f}/s, the greatest counts. One replica, {told['plan']}.",
        "`serving_overload.py`; every figure in `serving_overload.json`.", "",
        "| | asked | measured |", "|---|---|---|",
        f"| answered in time over capacity | at least 0.90 | {share:.3f} ({told['goodput_per_s']:.1f}/s) |",
        f"| p99 of what was admitted and answered, ms | at most {SLO_S * 1e3:.0f} | {p99_s * 1e3:.1f} (p50 "
        f"{told['percentiles']['p50_s'] * 1e3:.1f}, worst {told['max_s'] * 1e3:.1f}) |",
        f"| refused (503) | | {told['shed'] / told['num_sent']:.1%} |",
        f"| admitted, deadline passed in the queue (504) or failed | | {late / told['num_sent']:.2%}: {told['failures']} |",
    ]  # fmt: skip
    for name in names:
        fitted, error = slope(told["samples"], name)
        first, last = (sample.get(name, 0) / 1e6 for sample in (told["samples"][0], told["samples"][-1]))
        lines.append(
            f"| memory of the {told_name(name)}, MB | flat: under {MOST_SLOPE / 1e6:.0f} an hour | "
            f"{first:.1f} to {last:.1f}; {fitted / 1e6:+.2f} ± {error / 1e6:.2f} an hour |"
        )
    lines += ["", f"Void: {told['void']}. The generator's lag p99: {told['lag_p99_s'] * 1e3:.2f} ms."]
    return "\n".join(lines) + "\n"


def main() -> None:
    artifact, batch = Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else SECONDS
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as folder:
        chosen = planned({"replicas": 1, "batch": batch, "bucketing": batch > 1, "threads": 1}, artifact, Path(folder))
        found = driven(chosen, seconds) | {"plan": f"batches of at most {batch}"}
    (RESULTS / "serving_overload.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "serving_overload.md").write_text(report(found))
    print(report(found))


if __name__ == "__main__":
    main()
