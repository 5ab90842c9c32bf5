"""The run directory: nothing that was acknowledged is ever lost or done twice, and every refusal says what to do."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from farthing.errors import StoreError
from farthing.results import Evidence
from farthing.store import SESSION, Store, filling
from farthing.types import Pipeline

JOB = "0" * 64  # of the killed writer too
SMALL, LARGE, FOLDER = "small", "large", "folder"


def opened(directory: Path, resume: bool = True, digest: str = JOB) -> Store:
    return Store.open(directory, digest=digest, resume=resume)


def never() -> Any:
    raise AssertionError("a recorded value was computed again")


# ---------------------------------------------------------------- recording and resuming


def test_a_value_is_computed_once_and_reads_back_as_it_was_returned(tmp_path: Path) -> None:
    evidence = Evidence(original=np.arange(20_000.0), candidate=np.zeros((2, 2)), slices={"lang": np.array(["de", "en"])})
    with opened(tmp_path / "run") as store:
        first = store.once("trial", "a", lambda: ([1, 2], (float("inf"), evidence)))
        assert store.has("trial", "a") and not store.has("trial", "b") and not store.has("other", "a")
        assert store.once("trial", "a", never)[0] == [1, 2]
    with opened(tmp_path / "run") as store:
        again = store.once("trial", "a", never)
    for answer in (first, again):
        assert answer[0] == [1, 2] and answer[1][0] == float("inf")
        np.testing.assert_array_equal(answer[1][1].original, evidence.original)
        np.testing.assert_array_equal(answer[1][1].slices["lang"], evidence.slices["lang"])


def test_a_large_value_is_one_blob_and_the_journal_stays_small(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.once(LARGE, "a", lambda: np.zeros(100_000))
        store.once(LARGE, "b", lambda: np.zeros(100_000))
    assert len(list((tmp_path / "blobs").iterdir())) == 1
    assert (tmp_path / "journal.jsonl").stat().st_size < 2_000


def test_nothing_is_recorded_when_compute_raises(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with pytest.raises(KeyboardInterrupt):
            store.once("trial", "a", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(ZeroDivisionError):
            store.folder("build", "a", lambda place: (place / "half").write_text("x") // 0)
        assert not store.has("trial", "a") and not list((tmp_path / "folders").iterdir())
        assert store.once("trial", "a", lambda: 7) == 7


def test_events_keep_their_order_over_sessions(tmp_path: Path) -> None:
    for session in range(3):
        with opened(tmp_path) as store:
            store.record("note", {"session": session})
            store.record("note", session)
    with opened(tmp_path) as store:
        assert store.records("note") == ({"session": 0}, 0, {"session": 1}, 1, {"session": 2}, 2)
        assert [facts["job"] for facts in store.records(SESSION)] == [JOB] * 4


def test_spent_seconds_add_up_over_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for session in range(3):
        clock[0] += 5_000.0  # between sessions nothing is spent
        with opened(tmp_path) as store:
            assert store.spent_s == pytest.approx(60.0 * session)
            clock[0] += 60.0
            store.record("note", None)


def built(place: Path) -> tuple[Pipeline, Path]:
    assert not list(place.iterdir())
    (place / "model.onnx").write_text("weights")
    return Pipeline(directory=place, form="onnx", file="model.onnx", inputs=(), outputs=()), place / "model.onnx"


def test_a_folder_comes_back_in_its_final_place_even_if_the_run_is_moved(tmp_path: Path) -> None:
    with opened(tmp_path / "run") as store:
        pipeline, file = store.folder("build", "bf16 + openvino(hint='latency')", built)
        assert pipeline.directory.parent == tmp_path / "run" / "folders" and file.read_text() == "weights"
        store.once("pipeline", "x", lambda: pipeline)
    (tmp_path / "run").rename(tmp_path / "moved")
    with opened(tmp_path / "moved") as store:
        pipeline, file = store.folder("build", "bf16 + openvino(hint='latency')", lambda place: never())
        assert pipeline.path == file and file.read_text() == "weights" and file.is_relative_to(tmp_path / "moved")
        assert store.once("pipeline", "x", never) == pipeline == store.records("build")[0][0]


def test_folders_of_like_keys_do_not_meet(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        places = {store.folder("build", key, lambda place: place) for key in ("a b", "a_b", "a/b", "../a", "a" * 300, "ä")}
    assert len(places) == 6 and all(place.parent == tmp_path / "folders" for place in places)


# ---------------------------------------------------------------- killed


@pytest.fixture
def writer() -> Iterator[Callable[[Path, int, float | None], int]]:
    """Run the writer of tests/killed_writer.py once; kill -9 it after so many seconds; the answer is its exit status."""
    script = Path(__file__).with_name("killed_writer.py")
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None

        def write(directory: Path, crash_at: int = -1, kill_after_s: float | None = None) -> int:
            print(directory, crash_at, file=process.stdin, flush=True)
            child = int(process.stdout.readline())
            if kill_after_s is not None:
                time.sleep(kill_after_s)
                os.kill(child, signal.SIGKILL)
            print(file=process.stdin, flush=True)
            return int(process.stdout.readline())

        yield write
        process.stdin.close()


def log(directory: Path) -> list[str]:
    path = Path(f"{directory}.log")
    return path.read_text().splitlines() if path.exists() else []


def check_after_kill(directory: Path) -> None:
    """What was returned to the writer is there exactly once, and was not computed again afterwards."""
    returned: set[str] = set()
    for what, _, key in (line.partition(" ") for line in log(directory)):
        assert what == "returned" or key not in returned, f"{key} was computed again"
        returned |= {key} if what == "returned" else set()
    with opened(directory) as store:
        assert all(store.has(key.partition(" ")[0], key) for key in returned)
        for kind in (SMALL, LARGE, FOLDER):
            assert len(store.records(kind)) == store.has(kind, kind) + store.has(kind, f"{kind} again")


def state(directory: Path) -> dict[str, Any]:
    with opened(directory) as store:
        values = {kind: store.records(kind) for kind in (SMALL, LARGE, FOLDER)}
        files = {p.relative_to(directory): p.read_bytes() for p in (directory / "folders").rglob("*") if p.is_file()}
    values[LARGE] = tuple(array.tobytes() for array in values[LARGE])
    values[FOLDER] = tuple(pipeline.path.relative_to(directory) for pipeline in values[FOLDER])
    return {"values": values, "files": files, "blobs": sorted(p.name for p in (directory / "blobs").iterdir())}


def test_kill_9_at_random_times_loses_nothing(tmp_path: Path, writer: Callable[..., int]) -> None:
    assert writer(tmp_path / "first") == 0
    started = time.monotonic()
    assert writer(tmp_path / "undisturbed") == 0
    usual_s = time.monotonic() - started
    expected = state(tmp_path / "undisturbed")
    generator, num_kills, num_runs = random.Random(0), 0, 0
    while num_kills < 60:
        directory, status = tmp_path / str(num_runs), 1
        while status != 0:
            status = writer(directory, kill_after_s=generator.uniform(0.0, usual_s))
            num_kills += status == -signal.SIGKILL
            assert status in (0, -signal.SIGKILL)
            check_after_kill(directory)
        assert state(directory) == expected
        num_runs += 1


def test_kill_9_before_each_durable_step_loses_nothing(tmp_path: Path, writer: Callable[..., int]) -> None:
    assert writer(tmp_path / "undisturbed") == 0
    expected = state(tmp_path / "undisturbed")
    num_steps, status = 0, 1
    while status != 0:
        directory = tmp_path / str(num_steps)
        status = writer(directory, num_steps)
        check_after_kill(directory)
        assert writer(directory) == 0
        assert state(directory) == expected
        num_steps += 1
    assert num_steps > 30


def test_a_record_torn_at_any_byte_is_dropped_and_made_again(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.once("trial", "a", lambda: 1)
        store.once("trial", "b", lambda: ("wörter", 2.5))
    journal = tmp_path / "journal.jsonl"
    whole = journal.read_bytes()
    begin = whole.rindex(b"\n", 0, -1) + 1
    for size in range(begin, len(whole)):
        journal.write_bytes(whole[:size])
        with opened(tmp_path) as store:
            assert store.once("trial", "a", never) == 1
            assert not store.has("trial", "b")
            assert store.once("trial", "b", lambda: ("wörter", 2.5)) == ("wörter", 2.5)
            assert store.records(SESSION)[-1]["torn_bytes"] == size - begin
        with opened(tmp_path) as store:
            assert store.records("trial") == (1, ("wörter", 2.5))


# ---------------------------------------------------------------- refused


def refusal(directory: Path, **options: Any) -> str:
    with pytest.raises(StoreError) as caught:
        opened(directory, **options).close()
    assert "--out" in str(caught.value)
    return str(caught.value)


def test_a_run_is_not_overwritten_without_resume_nor_taken_by_another_job(tmp_path: Path) -> None:
    opened(tmp_path, resume=False).close()
    before = (tmp_path / "journal.jsonl").read_bytes()
    assert "--resume" in refusal(tmp_path, resume=False)
    message = refusal(tmp_path, digest="f" * 64)
    assert "another job" in message and "0" * 12 in message and "f" * 12 in message
    assert (tmp_path / "journal.jsonl").read_bytes() == before


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    assert "'thesis.tex'" in refusal(tmp_path, resume=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert "is a file, and a run needs a folder of its own. Choose another --out." in refusal(tmp_path / "thesis.tex")
    assert "cannot be written: Not a directory. Choose another --out." in refusal(tmp_path / "thesis.tex" / "run")


def test_two_processes_cannot_use_one_run(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.once("trial", "a", lambda: 1)
        assert f"in use by process {os.getpid()}" in refusal(tmp_path)
        store.once("trial", "b", lambda: 2)
    opened(tmp_path).close()


def test_any_changed_byte_is_refused_naming_file_and_line(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.once("trial", "a", lambda: (1, "x"))
        store.once("trial", "b", lambda: 2)
    journal = tmp_path / "journal.jsonl"
    whole = journal.read_bytes()
    for position in range(len(whole) - 1):  # without its last newline, the last line is a torn one
        journal.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        line = whole[:position].count(b"\n") + 1
        assert f"corrupt run directory: {journal}, line {line}: " in refusal(tmp_path)
    journal.write_bytes(b"".join(line for i, line in enumerate(whole.splitlines(True)) if i != 1))
    assert "line 2: record 1 is missing" in refusal(tmp_path)
    journal.write_bytes(whole)
    opened(tmp_path).close()


def test_a_lost_or_changed_blob_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.once(LARGE, "a", lambda: np.zeros(100_000))
    (blob,) = (tmp_path / "blobs").iterdir()
    data = blob.read_bytes()
    blob.write_bytes(data[:-1])
    assert f"line 2: its value, {blob}, is missing or was changed" in refusal(tmp_path)
    blob.unlink()
    assert str(blob) in refusal(tmp_path)


def test_a_lost_or_changed_folder_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        pipeline, file = store.folder("build", "a", built)
        file.write_text("other weights")
        with pytest.raises(StoreError, match=f"corrupt run directory: the files in {pipeline.directory}"):
            store.folder("build", "a", built)


def test_a_journal_of_another_format_is_refused_naming_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farthing.codec.FORMAT", 99)
    opened(tmp_path).close()
    monkeypatch.undo()
    assert "format 99" in refusal(tmp_path)


# ---------------------------------------------------------------- full and read-only disks


def test_a_full_disk_loses_nothing_and_the_run_goes_on(tmp_path: Path) -> None:
    """The limit on file sizes makes the kernel cut a write short and then refuse it, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(tmp_path) as store:
        store.once("trial", "a", lambda: 1)
        size = (tmp_path / "journal.jsonl").stat().st_size
        try:
            for room in (0, 1, 100):
                resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))
                for value in ("small" * 20, "large" * 100_000):
                    with pytest.raises(StoreError, match="Free some space and go on with --resume"):
                        store.once("trial", "b", lambda value=value: value)
                    assert (tmp_path / "journal.jsonl").stat().st_size == size
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not list((tmp_path / "blobs").iterdir())
        assert store.once("trial", "b", lambda: 2) == 2
    with opened(tmp_path) as store:
        assert store.records("trial") == (1, 2)


@pytest.mark.parametrize("interruption", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_record_whose_sync_failed_is_not_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    def fail(descriptor: int) -> None:
        raise interruption

    with opened(tmp_path) as store:
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises((StoreError, KeyboardInterrupt)):
            store.once("trial", "a", lambda: 1)
        monkeypatch.undo()
        assert store.once("trial", "a", lambda: 2) == 2
    with opened(tmp_path) as store:
        assert store.records("trial") == (2,)


def test_a_read_only_folder_is_refused() -> None:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path, whose parents belong to root alone
        read_only = Path(name)
        read_only.chmod(0o555)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65_534)  # root may write anywhere
        try:
            for directory in (read_only, read_only / "run"):
                assert f"{directory} cannot be written: Permission denied" in refusal(directory)
        finally:
            if is_root:
                os.seteuid(0)
            read_only.chmod(0o755)


@pytest.mark.parametrize(
    ("error", "free", "says"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            10**9,
            "cannot be written: No space left on device. Free some space",
        ),
        (RuntimeError("protobuf: write failed"), 0, "cannot be written: No space left on device. Free some space"),
        (RuntimeError("protobuf: write failed"), 10**9, None),
        (FileNotFoundError(errno.ENOENT, "No such file"), 10**9, None),
    ],
)
def test_what_fails_while_the_disk_is_full_is_told_as_that(
    error: Exception, free: int, says: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(type(error) if says is None else StoreError, match=says) as caught, filling(tmp_path):
        raise error
    assert says is not None or caught.value is error
