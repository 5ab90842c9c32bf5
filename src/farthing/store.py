"""The run directory: what was found out is written down once, durably, and survives kill -9, full disks and renaming.

journal.jsonl    append-only; one record a line, each with its number and checksum
blobs/SHA256     values too large for a line, named by their content
folders/NAME/    results that are directories (builds), renamed into place when complete
lock             held by the one process that writes
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar, cast

from farthing import codec
from farthing.errors import StoreError

T = TypeVar("T")

SESSION = "session"  # kind of the first record, and of one more for each resume
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LEAST_FREE_BYTES = 65_536  # with less, nothing that matters fits any more
LARGEST_LINE_BYTES = 32_768  # a longer value becomes a blob
_LINE = re.compile(rb'(?P<body>.*),"sha256":"(?P<sum>[0-9a-f]{64})"\}', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    kind: str
    key: str | None  # None: an event, of which there may be many
    spent_s: float  # of all sessions, up to this record
    value: Any  # as `codec.to_json` gave it, or {"$blob": sha256}
    end: int  # byte of the journal where the next record begins


class Store:
    """One run's memory. Law: what `once`, `folder` and `record` have returned is on the disk, and is there exactly once.

    Use it from one thread, in a `with`. A call that raises leaves the journal as it was.
    """

    def __init__(self, directory: Path, lock: int, journal: int) -> None:
        self.directory = directory
        self._lock = lock
        self._journal = journal
        self._records: list[_Record] = []
        self._started_s = time.monotonic()

    @classmethod
    def open(cls, directory: Path, *, digest: str, resume: bool) -> "Store":
        """Start a run of the job `digest` in a new or empty directory; or take up the one that is there, with `resume`.

        Raises StoreError, which names the next step, for another job's run, a run without `resume`, a folder that is
        something else, one in use, read-only, on a full disk, or corrupt. A last line without its end was being written
        when the process was killed, so nobody was told that it is there: it is dropped.
        """
        directory = directory.absolute()
        if directory.exists() and not directory.is_dir():
            raise StoreError(f"{directory} is a file, and a run needs a folder of its own. Choose another --out.")
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            _refuse_foreign(directory)
            lock = _locked(directory / "lock")
            try:
                journal = os.open(directory / "journal.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            except OSError:
                os.close(lock)
                raise
        store = cls(directory, lock, journal)
        try:
            store._begin(digest, resume)
        except BaseException:
            store.close()
            raise
        return store

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._journal)
        os.close(self._lock)

    @property
    def spent_s(self) -> float:
        """Wall-clock seconds of all sessions; of one that was killed, up to its last record."""
        return time.monotonic() - self._started_s

    def has(self, kind: str, key: str) -> bool:
        return self._find(kind, key) is not None

    def once(self, kind: str, key: str, compute: Callable[[], T]) -> T:
        """The value recorded under (kind, key); else what `compute` gives, recorded. Nothing is recorded when it raises.

        The answer is always what reading it back gives, so that a resumed run sees what an undisturbed one saw.
        """
        record = self._find(kind, key) or self._append(kind, key, codec.to_json(compute(), self._places))
        return cast(T, self._value(record))

    def folder(self, kind: str, key: str, make: Callable[[Path], T]) -> T:
        """Like `once`, for a result with files: `make` fills the empty folder that it is given.

        The folder is renamed when complete: paths below it in what `make` returns come back in their final place.
        Raises StoreError if its files were changed since.
        """
        place = self.directory / "folders" / _folder_name(kind, key)
        record = self._find(kind, key) or self._append(kind, key, self._make_folder(place, make))
        facts = self._json(record)
        if codec.digest_tree(place) != facts["sha256"]:
            raise StoreError(
                f"corrupt run directory: the files in {place} were changed or lost after they were recorded. "
                "Restore that folder from a copy, or start again with another --out."
            )
        return cast(T, self._value(record))

    def record(self, kind: str, value: Any) -> None:
        """Write an event down; there may be many of one kind."""
        self._append(kind, None, codec.to_json(value, self._places))

    def records(self, kind: str) -> tuple[Any, ...]:
        """Values of all events and results of this kind, in the order in which they were recorded."""
        return tuple(self._value(record) for record in self._records if record.kind == kind)

    # ------------------------------------------------------------ opening

    def _begin(self, digest: str, resume: bool) -> None:
        torn_bytes = self._replay()
        if self._records:
            self._check_job(digest, resume)
            self._started_s -= self._records[-1].spent_s
        with writing(self.directory):
            os.ftruncate(self._journal, self._end)
            for folder in (self.directory / "blobs", self.directory / "folders"):
                folder.mkdir(exist_ok=True)
                for leftover in folder.glob(".*"):  # of a process that was killed while it wrote
                    shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            _sync(self.directory)
            _sync(self.directory.parent)
        facts = {"job": digest, "farthing": version("farthing"), "format": codec.FORMAT, "torn_bytes": torn_bytes}
        self.record(SESSION, facts)

    def _replay(self) -> int:
        """Read all whole records; the answer is how many bytes of a torn last line follow them."""
        *lines, torn = (self.directory / "journal.jsonl").read_bytes().split(b"\n")
        for number, line in enumerate(lines):
            match = _LINE.fullmatch(line)
            if match is None or hashlib.sha256(match["body"]).hexdigest().encode() != match["sum"]:
                raise self._corrupt(number, "its checksum does not hold")
            facts = json.loads(match["body"] + b"}")
            if facts.pop("number") != number:
                raise self._corrupt(number, f"record {number} is missing")
            record = _Record(**facts, end=self._end + len(line) + 1)
            blob = self._blob(record)
            if blob is not None and not (blob.is_file() and codec.digest_file(blob) == blob.name):
                raise self._corrupt(number, f"its value, {blob}, is missing or was changed")
            self._records.append(record)
        return len(torn)

    def _check_job(self, digest: str, resume: bool) -> None:
        first = self._value(self._records[0])
        if first["format"] != codec.FORMAT:
            raise StoreError(
                f"{self.directory} was written by farthing {first['farthing']} in format {first['format']}, and "
                f"farthing {version('farthing')} reads format {codec.FORMAT}. Use that version, or another --out."
            )
        if first["job"] != digest:
            raise StoreError(
                f"{self.directory} belongs to another job: its digest is {first['job'][:12]}, this job's is {digest[:12]}. "
                "Give this job another --out, or undo what was changed in it."
            )
        if not resume:
            raise StoreError(
                f"{self.directory} already holds a run of this job, of {len(self._records)} records. "
                "Go on with it by --resume, or start afresh with another --out."
            )

    def _corrupt(self, number: int, what: str) -> StoreError:
        return StoreError(
            f"corrupt run directory: {self.directory / 'journal.jsonl'}, line {number + 1}: {what}. "
            f"Restore it from a copy, {f'cut the file before line {number + 1} to keep what came earlier, ' if number else ''}"
            "or start again with another --out."
        )

    # ------------------------------------------------------------ reading

    @property
    def _end(self) -> int:
        return self._records[-1].end if self._records else 0

    @property
    def _places(self) -> dict[str, Path]:
        return {"run": self.directory}

    def _find(self, kind: str, key: str) -> _Record | None:
        return next((record for record in self._records if record.key == key and record.kind == kind), None)

    def _blob(self, record: _Record) -> Path | None:
        is_blob = isinstance(record.value, dict) and "$blob" in record.value
        return self.directory / "blobs" / record.value["$blob"] if is_blob else None

    def _json(self, record: _Record) -> Any:
        blob = self._blob(record)
        return record.value if blob is None else json.loads(blob.read_bytes())

    def _value(self, record: _Record) -> Any:
        value = self._json(record)
        if isinstance(value, dict) and "$folder" in value:
            place = self.directory / "folders" / value["$folder"]
            return codec.from_json(value["value"], {"folder": place} | self._places)
        return codec.from_json(value, self._places)

    # ------------------------------------------------------------ writing

    def _append(self, kind: str, key: str | None, value: Any) -> _Record:
        facts = {"kind": kind, "key": key, "spent_s": round(self.spent_s, 3), "value": self._lightened(value)}
        body = json.dumps({"number": len(self._records)} | facts, allow_nan=False).encode()[:-1]
        line = body + b',"sha256":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
        record = _Record(**facts, end=self._end + len(line))
        with writing(self.directory / "journal.jsonl"):
            try:
                if os.write(self._journal, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._journal)
                self._records.append(record)
            except BaseException:  # Ctrl-C too: what memory does not know of must not be in the file
                os.ftruncate(self._journal, self._end)
                raise
        return record

    def _lightened(self, value: Any) -> Any:
        data = json.dumps(value, allow_nan=False).encode()
        if len(data) <= LARGEST_LINE_BYTES:
            return value
        place = self.directory / "blobs" / hashlib.sha256(data).hexdigest()
        temporary = place.with_name(f".{place.name}")
        with writing(place):
            try:
                temporary.write_bytes(data)
                _sync(temporary)
                temporary.rename(place)
                _sync(place.parent)
            finally:
                temporary.unlink(missing_ok=True)
        return {"$blob": place.name}

    def _make_folder(self, place: Path, make: Callable[[Path], Any]) -> dict[str, Any]:
        temporary = place.with_name(f".{place.name}")
        with writing(temporary):
            temporary.mkdir()
        try:
            value = codec.to_json(make(temporary), {"folder": temporary} | self._places)
            with writing(place):
                sync_tree(temporary)
                if place.exists():  # complete, but its process was killed before it was recorded
                    shutil.rmtree(place)
                temporary.rename(place)
                _sync(place.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return {"$folder": place.name, "sha256": codec.digest_tree(place), "value": value}


def _refuse_foreign(directory: Path) -> None:
    found = {path.name for path in directory.iterdir() if not path.name.startswith(".")}
    others = sorted(found - {"lock", "blobs", "folders"})
    if others and "journal.jsonl" not in found:
        raise StoreError(f"{directory} is no run directory: it holds {others[0]!r}. Choose another --out, new or empty.")


def _locked(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.read(lock, 32).decode(errors="replace")
        os.close(lock)
        raise StoreError(
            f"{path.parent} is in use by process {owner or 'unknown'}. Wait for it or end it, or choose another --out."
        ) from error
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    return lock


def _folder_name(kind: str, key: str) -> str:
    name = f"{kind}-{key}"
    if re.fullmatch(r"[\w.+=-]{1,100}", name, re.ASCII):
        return name
    return f"{re.sub(r'[^a-zA-Z0-9.+=-]+', '_', name)[:60]}-{codec.digest((kind, key))[:16]}"


def sync_tree(directory: Path) -> None:
    """Returns when all files and folders below `directory` are on the disk."""
    for path in (*directory.rglob("*"), directory):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns the operating system's refusal to write into a StoreError that names `path` and the next step."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        if error.errno in FULL:
            next_step = "Free some space and go on with --resume, or choose another --out."
        elif error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG):
            next_step = "Choose another --out."
        else:
            next_step = "Make it writable, or choose another --out."
        raise StoreError(
            f"{path} cannot be written: {error.strerror}. {next_step} Nothing that was recorded is lost."
        ) from error


@contextmanager
def filling(directory: Path) -> Iterator[None]:
    """Makes a StoreError of what fails while the disk of `directory` is full: other libraries tell it in their own words."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        full = isinstance(error, OSError) and error.errno in FULL
        if full or shutil.disk_usage(directory).free < LEAST_FREE_BYTES:
            with writing(directory):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise
