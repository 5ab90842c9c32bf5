"""The whole loop on a small real job: what it decides, what it leaves behind, and what a killed run loses, which is nothing."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pytest

from farthing import codec, flow, spec
from farthing.artifact import gate, verify
from farthing.errors import StoreError
from farthing.testing.meters import write_powercap
from farthing.workshop import state_home

from . import small_job

KILLS = 50


@pytest.fixture(autouse=True)
def own_ledger(tmp_path, monkeypatch):
    """All these runs are certified on the same items: each test has a ledger of its own, and the machine's ceilings."""
    shared, own = state_home(), tmp_path / "state"
    own.mkdir()
    if (shared / "ceilings.json").is_file():
        shutil.copy(shared / "ceilings.json", own)
    monkeypatch.setenv("FARTHING_HOME", str(own))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    job = spec.read(small_job.write(folder))
    events = []
    decision = flow.optimize(job, out=folder / "run", progress=lambda name, facts: events.append((name, dict(facts))))
    return job, folder, decision, events


def test_the_decision_is_certified_cheaper_and_packed(finished):
    job, folder, decision, events = finished
    assert decision.verdict == "saves", decision
    assert decision.chosen.cost.usd_per_million < decision.baseline.cost.usd_per_million
    assert decision.chosen.certified
    assert [c.num_items for c in decision.chosen.certificates] == [len(job.splits.verify)]
    assert decision.saving.low <= decision.saving.value <= decision.saving.high < 1
    assert decision.chosen.figure("latency_p99_s").num_samples >= 299
    assert [name for name, _ in events if name == "stage"] == ["stage"] * 5
    for name in ("report.html", "decision.json", "journal.jsonl", "artifact/manifest.json"):
        assert (folder / "run" / name).is_file()


def test_the_artifact_is_what_was_decided(finished):
    job, folder, decision, _ = finished
    verdict = verify(folder / "run" / "artifact")
    assert verdict.passed, verdict.checks
    assert verdict.artifact.manifest.deployment == decision.chosen.deployment
    code, markdown = gate(folder / "run" / "artifact", job.floors)
    assert code == 0, markdown


def test_predict_answers_each_line_with_json(finished, tmp_path):
    job, folder, _, _ = finished
    rows = job.splits.verify.columns[0][:3]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row.tolist()) for row in rows))
    command = [sys.executable, "-m", "farthing.cli", "predict", str(folder / "run" / "artifact"), str(tmp_path / "rows.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(answer) for answer in answers] == [10, 10, 10], "a probability for each digit"


def test_what_is_told_of_the_saving_agrees_with_itself(finished):
    _, _, decision, _ = finished
    told = decision.chosen.cost.usd_per_million / decision.baseline.cost.usd_per_million
    assert told == pytest.approx(decision.saving.value)
    assert sum(line.usd for line in decision.chosen.cost.lines) == pytest.approx(decision.chosen.cost.usd_per_million)
    assert decision.chosen in decision.candidates


def test_everything_that_was_proposed_is_accounted_for(finished):
    _, _, decision, _ = finished
    everywhere = [c.deployment for c in (*decision.candidates, *decision.rejected)]
    assert len(everywhere) == len(set(everywhere)), "a deployment stands in one place only"
    assert all(c.rejected.reason for c in decision.rejected)
    assert decision.baseline in decision.candidates


def test_the_waterfall_adds_up(finished):
    _, _, decision, _ = finished
    saved = decision.baseline.cost.usd_per_million - decision.chosen.cost.usd_per_million
    bars = sum(bar.usd_per_million_saved for bar in decision.waterfall)
    assert bars + decision.interaction_usd_per_million == pytest.approx(saved)
    assert any(bar.measured for bar in decision.waterfall)


def test_a_finished_run_is_told_again_without_measuring(finished):
    job, folder, decision, _ = finished
    before = _kinds(folder / "run")
    again = flow.optimize(job, out=folder / "run", resume=True)
    assert again.chosen == decision.chosen
    assert again.saving == decision.saving
    assert _kinds(folder / "run") - before == Counter({"session": 1})


def test_a_finished_run_whose_budget_is_spent_is_told_again_too(finished, monkeypatch):
    job, folder, decision, _ = finished
    monkeypatch.setattr("farthing.workshop.Workshop.search_time_left_s", lambda shop: -1.0)
    again = flow.optimize(job, out=folder / "run", resume=True)
    assert (again.chosen, again.candidates) == (decision.chosen, decision.candidates)
    assert _kinds(folder / "run")["trial"] > 2  # the baseline's and more than the one that is always made


def test_another_run_needs_resume_or_another_folder(finished):
    job, folder, _, _ = finished
    with pytest.raises(StoreError, match="--resume"):
        flow.optimize(job, out=folder / "run")


def test_a_ceiling_that_nothing_holds_is_an_answer_with_what_to_relax(tmp_path):
    decision = flow.optimize(spec.read(small_job.write(tmp_path, p99=1e-5)), out=tmp_path / "run")
    assert decision.verdict == "nothing"
    assert decision.chosen is None
    assert any("latency_p99_s" in demand for demand in decision.relax), decision.relax
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.timeout(1800)
def test_a_floor_too_tight_keeps_the_original_whose_artifact_passes_the_gate(tmp_path, monkeypatch):
    """The machine has a sensor here, of 25 watts: a recorded tree whose counter a thread drives."""
    monkeypatch.setattr("farthing.meters.rapl.ROOT", tmp_path)
    job = spec.read(small_job.write(tmp_path, max_drop=1e-6))
    with _drawing(tmp_path, watts=25.0):
        decision = flow.optimize(job, out=tmp_path / "run")
    assert decision.chosen.deployment.build == decision.baseline.deployment.build
    assert {c.protocol for c in decision.chosen.certificates} == {"the build is the original, unchanged: nothing can be lost"}
    code, markdown = gate(tmp_path / "run" / "artifact", job.floors)
    assert code == 0 and "the original, unchanged" in markdown
    cost = decision.baseline.cost
    assert cost.energy_source.startswith("measured by RAPL (package-0;")
    vcpu_s = next(line.quantity for line in cost.lines if line.unit == "vCPU-second")
    assert cost.joules_per_million == pytest.approx(25.0 * vcpu_s / decision.profile.device.num_cores, rel=0.1)


@contextmanager
def _drawing(root, *, watts):
    counter_uj, started, stopped = 1e6, time.monotonic(), threading.Event()
    write_powercap(root, {"intel-rapl:0 package-0": int(counter_uj)})

    def drive():
        while not stopped.wait(0.002):
            now_uj = int(counter_uj + 1e6 * watts * (time.monotonic() - started))
            scratch = root / "energy"
            scratch.write_text(str(now_uj))
            scratch.rename(root / "intel-rapl:0" / "energy_uj")

    thread = threading.Thread(target=drive, daemon=True)
    thread.start()
    yield
    stopped.set()
    thread.join()


def test_an_original_below_the_minimum_is_no_answer(tmp_path):
    path = small_job.write(tmp_path)
    path.write_text(path.read_text().replace("max_drop = 0.03", "minimum = 0.999"))
    decision = flow.optimize(spec.read(path), out=tmp_path / "run")
    assert decision.verdict == "nothing"
    (certificate,) = decision.baseline.certificates
    assert (certificate.verdict, certificate.minimum) == ("FAIL", 0.999)
    assert "asked is 0.999" in decision.baseline.rejected.reason
    assert any("accuracy" in demand and "minimum" in demand for demand in decision.relax)


def test_a_run_killed_again_and_again_loses_and_repeats_nothing(tmp_path):
    """kill -9 at random moments, at least KILLS of them; every acknowledged record stays, none is written twice."""
    job = small_job.write(tmp_path)
    command = [sys.executable, "-m", "farthing.cli", "optimize", str(job), "--out", str(tmp_path / "run"), "--resume"]
    moments, seen, kills = random.Random(0), Counter(), 0
    longest_s = 1.0
    while kills < KILLS:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"COLUMNS": "80"}
        )
        try:
            process.wait(timeout=moments.uniform(0.3, longest_s))
            if kills >= KILLS or process.returncode not in (0, None):
                break
            kills += 1  # it had finished: killing a finished run loses nothing either
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        now = _kinds(tmp_path / "run", keyed=True)
        assert not [key for key, times in now.items() if times > 1], "a result was measured twice"
        assert not {key for key in seen if key not in now}, "a result was lost"
        longest_s = 1.0 if len(now) > len(seen) else min(longest_s + 1.0, 30.0)  # long enough to get on
        seen = now
    end = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert end.returncode == 0, end.stderr
    assert not [key for key, times in _kinds(tmp_path / "run", keyed=True).items() if times > 1]
    assert json.loads((tmp_path / "run" / "decision.json").read_text())


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path):
    job = small_job.write(tmp_path)
    command = [sys.executable, "-m", "farthing.cli", "optimize", str(job), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while sum(_kinds(tmp_path / "run").values()) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "--resume" in said
    assert sum(_kinds(tmp_path / "run").values()) >= 3


def _kinds(run, *, keyed=False):
    """How often each kind (and key) stands in the journal; whole lines only."""
    journal = run / "journal.jsonl"
    if not journal.exists():
        return Counter()
    lines = journal.read_bytes().split(b"\n")[:-1]
    records = [json.loads(line) for line in lines]
    if keyed:
        return Counter((r["kind"], r["key"]) for r in records if r["key"] is not None)
    return Counter(r["kind"] for r in records)


def test_the_same_question_has_the_same_digest(tmp_path):
    first, second = (spec.read(small_job.write(tmp_path)) for _ in range(2))
    assert first.digest == second.digest
    assert codec.digest(first.splits) == codec.digest(second.splits)
