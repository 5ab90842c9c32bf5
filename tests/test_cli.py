"""The command line as a user meets it: help, bad input, exit codes, and that nothing heavy is imported early."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import small_job

HEAVY = {"torch", "transformers", "onnxruntime", "openvino", "nncf", "sklearn", "scipy", "plotly", "numpy", "pydantic"}


def run(*arguments, cwd=None, **env):
    return subprocess.run(
        [sys.executable, "-m", "farthing.cli", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, cwd=cwd, env=os.environ | {"COLUMNS": "200"} | env,
    )  # fmt: skip


def test_help_imports_nothing_heavy():
    code = "import sys, farthing, farthing.cli; print(*{m.partition('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)
    assert {"optimize", "init", "verify", "predict", "gate"} <= set(run("--help").stdout.replace("│", " ").split())


def edited(folder, old, new):
    path = small_job.write(folder)
    path.write_text(path.read_text().replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('metric = "accuracy"', 'metric = "acuracy"', "accuracy"),
        ("rate_per_s = 100", "rate_per_s = -3", "-3"),
        ("usd_per_hour = 0.1", "usd_per_hour = 0.0", "usd_per_hour"),
        ('label = "digit"', 'label = "digits"', "digit"),
        ("max_drop = 0.03", "max_dorp = 0.03", "max_drop"),
        ("latency_p99_s = 2.0", "latency_p99_s = 0.0", "latency_p99_s"),
        ('factory = "small_job:forest"', 'factory = "small_job:tree"', "tree"),
    ],
)
def test_a_mistake_is_one_line_with_the_next_step_and_exit_code_2(tmp_path, old, new, says):
    done = run("optimize", edited(tmp_path, old, new), "--out", tmp_path / "run")
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_job_says_how_to_write_one(tmp_path):
    done = run("optimize", tmp_path / "none.toml")
    assert done.returncode == 2
    assert "farthing init" in done.stderr


def test_a_corrupt_run_directory_is_named_with_what_to_do(tmp_path):
    job = small_job.write(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "journal.jsonl").write_text('{"number": 0}\n{"number": 1}\n')
    done = run("optimize", job, "--out", folder, "--resume")
    assert done.returncode == 2
    assert "corrupt run directory" in done.stderr
    assert "another --out" in done.stderr


def test_an_output_that_is_a_file_is_refused(tmp_path):
    job = small_job.write(tmp_path)
    target = tmp_path / "file"
    target.write_text("mine")
    done = run("optimize", job, "--out", target)
    assert done.returncode == 2, done.stderr
    assert target.read_text() == "mine"


def test_init_writes_a_job_that_optimize_reads(tmp_path):
    path = Path(tmp_path) / "job.toml"
    answers = "\n" * 40
    done = subprocess.run(
        [sys.executable, "-m", "farthing.cli", "init", str(path)], input=answers, capture_output=True, text=True, timeout=60
    )
    assert "model" in done.stdout  # it asks for the model first, whatever then is answered
