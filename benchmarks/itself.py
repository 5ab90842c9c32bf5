"""What farthing itself costs: the time of --help, and the memory of the process that holds the loop.

    python benchmarks/itself.py [JOB.toml]

The parent never opens a model, so its peak does not depend on the model's size; "the model's needs" are zero there.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

HELP_RUNS = 15
NOTHING_KEEPS = 3  # exit code: a decision too
RESULTS = Path(__file__).parent / "results" / "itself.json"


def main(job: Path) -> None:
    command = [sys.executable, "-m", "farthing.cli"]
    runs = [(_timed([*command, "--help"]), _timed([sys.executable, "-c", "pass"])) for _ in range(HELP_RUNS)]  # in turns
    told, bare = zip(*runs, strict=True)
    with tempfile.TemporaryDirectory() as folder:
        fresh = os.environ | {"FARTHING_HOME": f"{folder}/home"}
        optimize = [*command, "optimize", str(job), "--out", f"{folder}/run"]
        process = psutil.Popen(optimize, stdout=subprocess.DEVNULL, env=fresh)
        peak = [0.0]
        watcher = threading.Thread(target=_watch, args=(process, peak))
        watcher.start()
        code = process.wait()
        watcher.join()
    assert code in (0, NOTHING_KEEPS), f"optimize ended with {code}"
    figures = {
        "job": job.name,
        "runs": HELP_RUNS,
        "help": _figures(told),
        "bare_python": _figures(bare),
        "parent_peak_rss_mb": peak[0] / 1e6,
        "asked": {"help_s": 0.3, "parent_peak_rss_mb": 300},
        "load_average": os.getloadavg(),
    }
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


def _figures(runs: Sequence[tuple[float, float]]) -> dict[str, dict[str, float]]:
    names, series = ("elapsed_s", "cpu_s"), zip(*runs, strict=True)
    return {n: {"median": statistics.median(s), "least": min(s), "most": max(s)} for n, s in zip(names, series, strict=True)}


def _watch(process: psutil.Popen, peak: list[float]) -> None:
    while process.poll() is None:
        try:
            peak[0] = max(peak[0], float(process.memory_info().rss))
        except psutil.Error:
            return
        time.sleep(0.02)


def _timed(command: list[str]) -> tuple[float, float]:
    """Seconds elapsed, and of processor: on a busy machine only the second says what the command takes."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    elapsed_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return elapsed_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("examples/minilm.toml"))
