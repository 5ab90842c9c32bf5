"""What farthing refuses to say: a load run whose generator could not keep up, and a p99 from one sample too few.

python benchmarks/refusals.py ARTIFACT REQUESTS.jsonl
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from farthing.artifact import load as load_artifact
from farthing.batching import BatchPolicy
from farthing.errors import LoadVoid, TooFewSamples
from farthing.measurement import load, session
from farthing.measurement.workers import Worker
from farthing.percentiles import percentile_interval, samples_needed
from farthing.traffic import arrivals
from farthing.types import Traffic

RATES_PER_S = (50.0, 200_000.0)  # one that is easily sent, one that no Python process sends
NUM_REQUESTS = 400
RESULTS = Path(__file__).parent / "results" / "refusals.json"


def main(artifact: Path, requests_file: Path) -> None:
    deployment = load_artifact(artifact).manifest.deployment
    requests = [(json.loads(line),) for line in requests_file.read_text().splitlines()]
    runs = []
    with Worker(log=Path(tempfile.mkdtemp()) / "log", max_rss_bytes=4e9, timeout_s=120) as worker:
        worker.call(session.open_build, artifact, deployment.build.runtime, 1, 1, "cpu")
        for rate in RATES_PER_S:
            send_at_s = arrivals(Traffic(scenario="server", rate_per_s=rate), NUM_REQUESTS, rate, seed=0)
            sent = [requests[i % len(requests)] for i in range(NUM_REQUESTS)]
            run = load.drive(worker, sent, send_at_s, BatchPolicy(batch_size=32), timeout_s=120)
            runs.append({"rate_per_s": rate, "verdict": _verdict(run)} | _figures(run))
    samples = runs[0]["latencies_s"][: samples_needed(99) - 1]
    try:
        refused = str(percentile_interval(samples, 99))
    except TooFewSamples as error:
        refused = str(error)
    RESULTS.write_text(json.dumps({"loads": runs, "p99_of_298_samples": refused}, indent=1))
    print([run["verdict"] for run in runs], refused)


def _verdict(run: load.LoadRun) -> str:
    try:
        run.check()
    except LoadVoid as void:
        return str(void)
    return "valid"


def _figures(run: load.LoadRun) -> dict[str, object]:
    return {
        "send_lag_p99_s": float(np.quantile(run.send_lag_s, 0.99)),
        "latencies_s": [round(float(s), 6) for s in run.latencies_s],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
