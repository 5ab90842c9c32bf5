"""The command line as a user meets it: help, bad input, exit codes, and that nothing heavy is imported early."""

import os
import signal
import subprocess
import sys
import time

import pytest

from farthing import spec

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
    told = set(run("--help").stdout.replace("│", " ").split())
    assert {"optimize", "init", "verify", "predict", "gate", "update", "serve", "bench"} <= told


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


SLOW_MODEL = """
import time

def forest():
    time.sleep(600)
"""


def test_an_original_that_takes_too_long_says_which_key_gives_it_more(tmp_path):
    job = edited(tmp_path, "minutes = 5", "minutes = 5\ntrial_timeout_s = 2")
    job.write_text(job.read_text().replace("small_job:forest", "slow_model:forest"))
    (tmp_path / "slow_model.py").write_text(SLOW_MODEL)
    done = run("optimize", job, "--out", tmp_path / "run")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "cannot be read: ran past its limit of 2 s" in done.stderr and "trial_timeout_s under [budget]" in done.stderr


def test_a_missing_job_says_how_to_write_one(tmp_path):
    done = run("optimize", tmp_path / "none.toml")
    assert done.returncode == 2
    assert "farthing init" in done.stderr


def test_a_method_is_explained_without_a_job_and_a_search_needs_one():
    told = run("optimize", "--explain", "fp16")
    assert told.returncode == 0 and told.stdout.startswith("fp16: weights in float16") and "No run was found" in told.stdout
    told = run("optimize")
    assert told.returncode == 2 and "no job file was given: name one, or let `farthing init` write it" in told.stderr


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
    assert f"{target} is a file, and a run needs a folder of its own. Choose another --out." in done.stderr
    assert target.read_text() == "mine"


def test_a_missing_model_is_told_before_a_run_is_begun(tmp_path):
    job = edited(tmp_path, 'factory = "small_job:forest"', 'factory = "no_such_module:forest"')
    done = run("optimize", job, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "no module 'no_such_module'" in done.stderr and not (tmp_path / "run").exists()


def test_a_job_that_is_a_folder(tmp_path):
    small_job.write(tmp_path)
    done = run("optimize", tmp_path)
    assert done.returncode == 2
    assert "is a folder: name a job file in it: job.toml" in done.stderr


@pytest.mark.parametrize("command", [["verify"], ["predict", "rows.jsonl"], ["gate", "--job", "job.toml"]])
def test_the_folder_of_a_run_names_its_artifact(tmp_path, command):
    (tmp_path / "run" / "artifact").mkdir(parents=True)
    (tmp_path / "run" / "journal.jsonl").write_text("")
    (tmp_path / "rows.jsonl").write_text("[1]\n")
    small_job.write(tmp_path)
    done = run(command[0], "run", *command[1:], cwd=tmp_path)
    assert done.returncode == 2
    assert "run is the folder of a run. Its artifact is run/artifact: name that" in done.stderr
    (tmp_path / "run" / "artifact").rmdir()
    assert "a run that packed no artifact" in run(command[0], "run", *command[1:], cwd=tmp_path).stderr
    assert (
        "gone does not exist: name a folder that `optimize` saved" in run(command[0], "gone", *command[1:], cwd=tmp_path).stderr
    )


def test_requests_that_are_no_file(tmp_path):
    for name, says in (
        (".", "is a folder: give a file of JSON Lines"),
        ("gone.jsonl", "gone.jsonl does not exist: give a file"),
    ):
        done = run("predict", "artifact", name, cwd=tmp_path)
        assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


RANDOM_ROWS = """
import numpy as np

def columns():
    generator = np.random.default_rng(0)
    return {"pixels": generator.random((300, 64)), "digit": generator.integers(0, 10, 300)}
"""


@pytest.mark.parametrize(("sent", "code", "word"), [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Terminated")])
def test_an_interrupted_run_says_how_to_go_on(tmp_path, sent, code, word):
    job, folder = edited(tmp_path, "small_job:held_out", "random_rows:columns"), tmp_path / "a run"
    (tmp_path / "random_rows.py").write_text(RANDOM_ROWS)
    command = [sys.executable, "-m", "farthing.cli", "optimize", str(job), "--out", str(folder), "--minutes", "2"]
    begun = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while not (folder / "journal.jsonl").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    begun.send_signal(sent)
    told, errors = begun.communicate(timeout=100)
    assert begun.returncode == code, errors
    assert f"{word}. Everything measured so far is kept. Go on with:" in told
    assert f"farthing optimize {job} --out '{folder}' --minutes 2 --resume" in told
    assert not errors


def interview(folder, answers, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "farthing.cli", "init", *arguments],
        input=answers, capture_output=True, text=True, timeout=100, cwd=folder,
    )  # fmt: skip


def test_init_writes_a_job_that_optimize_reads(tmp_path):
    small_job.write(tmp_path).unlink()
    answers = ["python", "small_job:forest", "python", "small_job:held_out", "accuracy", "digit", "pixels", "2%"]
    answers += ["server", "100", "2.0", "0.1", "5"]
    done = interview(tmp_path, "\n".join(answers) + "\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("Wrote job.toml. Next: farthing optimize job.toml\n")
    assert "898 rows; the columns:" in done.stdout and "pixels  64 numbers each" in done.stdout
    assert spec.read(tmp_path / "job.toml").floors[0].max_drop == 0.02


def test_init_ends_when_its_answers_do(tmp_path):
    done = interview(tmp_path, "")
    assert done.returncode == 2
    assert "the answers ended at this question: Where does your model come from?" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["http://127.0.0.1:1/", "--generate", "text:3", "--rate", "50"], "nobody listens on 127.0.0.1:1"),
        (["127.0.0.1:1", "--generate", "text:3", "--rate", "50"], "expected http://HOST:PORT/PATH"),
        (["http://127.0.0.1:1/", "--generate", "text:3", "--rate", "0"], "rate_per_s = 0 must be above 0"),
        (["http://127.0.0.1:1/", "--generate", "text:3"], "Give --rate"),
        (["http://127.0.0.1:1/", "--requests", "empty.jsonl", "--rate", "50"], "empty.jsonl holds no requests"),
        (["http://127.0.0.1:1/", "--generate", "text:3", "--trace", "gone.csv"], "gone.csv' cannot be read"),
        (["http://127.0.0.1:1/", "--generate", "text:3", "--rate", "50", "--header", "X-Key"], "expected 'NAME: VALUE'"),
        (["http://127.0.0.1:1/", "--generate", "text:3", "--rate", "50", "--out", "no/such/r.json"], "there is no folder"),
    ],
)
def test_bench_tells_a_mistake_before_it_drives(tmp_path, arguments, says):
    (tmp_path / "empty.jsonl").write_text("\n")
    done = run("bench", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr
