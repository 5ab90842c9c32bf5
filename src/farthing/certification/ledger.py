"""The ledger: what of alpha each run may spend on items that earlier runs have been certified on."""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from farthing.errors import DataError, StoreError

SPENT = 0.75  # of what earlier runs on the same items have left; the first run's share of alpha
MOST_RUNS = 4  # on one item; after that, what is left certifies next to nothing
DIGEST_LENGTH = 16  # characters kept of an item's digest


@dataclass(frozen=True)
class Ledger:
    """A JSON Lines file beside the data it speaks of, only ever appended to.

    Law: over all runs whose items include any one item, the shares sum to less than 1. So the chance that any of them accepts
    wrongly is below alpha, also for runs that were started because of what an earlier one found.
    """

    path: Path

    def spend(self, run: str, item_digests: Sequence[str]) -> float:
        """The share of alpha that `run` may use on these items of its verify split: call before they are opened.

        What is returned is on the disk. The same run gets the same answer again. Raises DataError if the items are used up, or
        if the run was recorded for other items; StoreError if the file is damaged or cannot be written.
        """
        items = sorted({digest[:DIGEST_LENGTH] for digest in item_digests})
        with self._locked() as file:
            entries = self._read(file)
            for entry in entries:
                if entry["run"] == run:
                    return self._repeated(entry, items)
            share = self._share(entries, items)
            line = json.dumps({"run": run, "share": share, "items": items}, separators=(",", ":"))
            self._append(file, line.encode() + b"\n")
            return share

    def _share(self, entries: list[dict[str, object]], items: list[str]) -> float:
        """SPENT of the remainder, which is (1 - SPENT)^k after k runs on the most used of the items."""
        uses = Counter(item for entry in entries for item in entry["items"])  # type: ignore[attr-defined]
        most_used = max((uses[item] for item in items), default=0)
        if most_used >= MOST_RUNS:
            raise DataError(
                f"{most_used} runs have been certified on items of this verify split; no error probability is left to spend "
                f"(ledger {self.path}). Bring fresh data for verify"
            )
        return float(SPENT * (1 - SPENT) ** most_used)

    def _repeated(self, entry: dict[str, object], items: list[str]) -> float:
        if entry["items"] != items:
            raise DataError(
                f"run {entry['run']} is in the ledger {self.path} with other items; a changed verify split is a new run"
            )
        return float(entry["share"])  # type: ignore[arg-type]

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise StoreError(
                f"the ledger {self.path} cannot be written ({error.strerror}): mend that, or name another folder"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX)  # released by the kernel with the process, also after kill -9
            yield file
        finally:
            os.close(file)

    def _read(self, file: int) -> list[dict[str, object]]:
        """All entries. A last line without its end was being written when its run died, before it was answered: dropped."""
        with open(file, "rb", closefd=False) as reader:
            text = reader.read()
        complete = text[: text.rfind(b"\n") + 1]
        if len(complete) < len(text):
            os.ftruncate(file, len(complete))
        return [self._entry(number, line) for number, line in enumerate(complete.splitlines(), start=1)]

    def _entry(self, number: int, line: bytes) -> dict[str, object]:
        try:
            entry = json.loads(line)
            return {"run": str(entry["run"]), "share": float(entry["share"]), "items": list(entry["items"])}
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"line {number} of the ledger {self.path} is damaged: restore the file, or use fresh data"
            ) from error

    def _append(self, file: int, line: bytes) -> None:
        try:
            written = os.write(file, line)
            os.fsync(file)
        except OSError as error:
            raise StoreError(f"the ledger {self.path} cannot be written: {error.strerror}") from error
        if written != len(line):
            raise StoreError(f"the ledger {self.path} took only {written} of {len(line)} bytes: free some disk space")
        directory = os.open(self.path.parent, os.O_RDONLY)
        os.fsync(directory)  # the file's name must survive too
        os.close(directory)
