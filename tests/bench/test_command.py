"""`farthing bench` as a user meets it: a table, a document, an exit code."""

import json
import os
import subprocess
import sys

from .server import STEADY_S


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "farthing.cli", "bench", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip


def test_a_run_prints_a_table_and_writes_a_document(url, tmp_path):
    (tmp_path / "requests.jsonl").write_text('"How?"\n"Why?"\n')
    out = tmp_path / "result.json"
    done = run(
        f"{url}/steady", "--requests", tmp_path / "requests.jsonl", "--rate", 100, "--duration", 1, "--usd-per-hour", 0.36,
        "--template", '{"inputs": [$REQUEST]}', "--header", "X-Key: k", "--out", out,
    )  # fmt: skip
    (driven,) = json.loads(out.read_text())["runs"]
    assert done.returncode == (4 if driven["void"] else 0), done.stderr
    assert driven["num_good"] == 100 and driven["usd_per_million"] > 0
    for word in (
        "offered  100/s for 1 s, poisson: 100 requests",
        "errors  none",
        "p50  ",
        "send lag",
        "per million good answers",
    ):
        assert word in done.stdout


def test_a_broken_slo_has_its_exit_code(url):
    done = run(f"{url}/one_at_a_time", "--generate", "numbers:3", "--rate", 400, "--duration", 2, "--slo-p99", 0.05)
    assert "SLO  broken" in done.stdout, done.stdout + done.stderr
    assert done.returncode == (4 if "VOID" in done.stdout else 3)


def test_a_sweep_prints_each_rate_and_stays_below_the_capacity(url, tmp_path):
    asked = ["--generate", "numbers:3", "--rate", 150, "--duration", 2, "--warmup", 0.2, "--slo-p99", 0.2]
    done = run(f"{url}/one_at_a_time", *asked, "--sweep", "--out", tmp_path / "sweep.json")
    assert done.returncode in (0, 3, 4), done.stderr
    written = json.loads((tmp_path / "sweep.json").read_text())
    assert written["knee_per_s"] is None or written["knee_per_s"] < 1.05 / STEADY_S
    assert done.stdout.count("/s  goodput") >= len(written["runs"]) and "Knee: " in done.stdout
