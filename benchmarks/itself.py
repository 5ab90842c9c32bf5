"""What farthing itself costs: the time of --help, and the memory of the process that holds the loop.

    python benchmarks/itself.py [JOB.toml]

The parent never opens a model, so its peak does not depend on the model's size; "the model's needs" are zero there.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

HELP_RUNS = 15
RESULTS = Path(__file__).parent / "results" / "itself.json"


def main(job: Path) -> None:
    command = [sys.executable, "-m", "farthing.cli"]
    help_s = sorted(_seconds([*command, "--help"]) for _ in range(HELP_RUNS))
    bare_s = sorted(_seconds([sys.executable, "-c", "pass"]) for _ in range(HELP_RUNS))
    with tempfile.TemporaryDirectory() as folder:
        process = psutil.Popen([*command, "optimize", str(job), "--out", f"{folder}/run"], stdout=subprocess.DEVNULL)
        peak = [0.0]
        watcher = threading.Thread(target=_watch, args=(process, peak))
        watcher.start()
        process.wait()
        watcher.join()
    figures = {
        "job": job.name,
        "help_s": {"median": statistics.median(help_s), "least": help_s[0], "most": help_s[-1], "runs": HELP_RUNS},
        "bare_python_s": {"median": statistics.median(bare_s), "least": bare_s[0], "most": bare_s[-1], "runs": HELP_RUNS},
        "parent_peak_rss_mb": peak[0] / 1e6,
        "asked": {"help_s": 0.3, "parent_peak_rss_mb": 300},
    }
    RESULTS.write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))


def _watch(process: psutil.Popen, peak: list[float]) -> None:
    while process.poll() is None:
        try:
            peak[0] = max(peak[0], float(process.memory_info().rss))
        except psutil.Error:
            return
        time.sleep(0.02)


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("examples/minilm.toml"))
