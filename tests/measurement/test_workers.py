"""Workers that crash, hang, grow or fail: each becomes the error that says so, and the parent lives."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from farthing.errors import BuildCrashed, BuildError, BuildOutOfMemory, BuildTimeout, WrongOutput
from farthing.measurement.workers import Worker

from . import misbehaviour


@pytest.fixture
def worker(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    with Worker(log=tmp_path / "worker.log", max_rss_bytes=400e6, timeout_s=60) as worker:
        yield worker


def test_state_lives_as_long_as_the_worker(worker):
    assert worker.call(misbehaviour.add, 2, 3) == 5
    assert worker.call(misbehaviour.add, 1, b=1) == 2
    assert worker.call(misbehaviour.calls) == 2


def test_what_a_call_tells_on_the_way_is_heard(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    heard = []
    with Worker(log=tmp_path / "worker.log", max_rss_bytes=400e6, timeout_s=60, told=heard.append) as worker:
        assert worker.call(misbehaviour.count, 3) == "counted"
        assert heard == [0, 1, 2]
        assert worker.call(misbehaviour.add, 1, 1) == 2


def test_a_hang_is_killed_at_the_time_limit(worker):
    with pytest.raises(BuildTimeout, match=r"ran past its limit of 0\.5 s"):
        worker.call(misbehaviour.hang, timeout_s=0.5)
    with pytest.raises(BuildError):
        worker.call(misbehaviour.add, 1, 1)


def test_growth_is_killed_at_the_memory_limit(worker):
    with pytest.raises(BuildOutOfMemory, match=r"past its limit of 0\.37 GiB"):
        worker.call(misbehaviour.grow)


@pytest.mark.parametrize(("how", "cause"), [("die", "SIGSEGV"), ("leave", "exit code 7")])
def test_a_crash_names_its_cause(worker, how, cause):
    with pytest.raises(BuildCrashed, match=cause):
        worker.call(getattr(misbehaviour, how))


def test_errors_keep_their_meaning_across_the_pipe(worker):
    with pytest.raises(BuildError, match="RuntimeError: a kernel said no"):
        worker.call(misbehaviour.fail, "library")
    with pytest.raises(WrongOutput, match="NaN"):
        worker.call(misbehaviour.fail, "wrong")
    with pytest.raises(RuntimeError, match="AssertionError in a worker"):
        worker.call(misbehaviour.fail, "ours")
    assert worker.call(misbehaviour.add, 1, 1) == 2, "an error is an answer: the worker goes on"


def test_a_worker_dies_with_its_parent(tmp_path):
    script = tmp_path / "unguarded.py"  # no `if __name__ == "__main__"`: it must not be run again by the worker
    script.write_text(
        "import sys, time, pathlib\n"
        "from farthing.measurement.workers import Worker\n"
        "from farthing.measurement import session\n"
        f"w = Worker(log=pathlib.Path({str(tmp_path / 'log')!r}), max_rss_bytes=4e8, timeout_s=60)\n"
        "print(w._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(1.0)  # long enough for it to ask for the signal
    parent.kill()
    parent.wait()
    parent.stdout.close()
    psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=10)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
