"""A process that fills run directories for tests/test_store.py to kill: one fork per line of stdin, `DIRECTORY CRASH_AT`.

It prints the child's pid and, one more line of stdin later, its exit status. With CRASH_AT >= 0 the child kills itself
before that system call (of those that make things durable). Each key that was computed, and each that the store has
returned, is a line of DIRECTORY.log: a file that a kill cannot take back.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from farthing.store import Store
from farthing.types import Pipeline

JOB = "0" * 64
KEYS = ("large", "small", "folder", "large again")


def run(directory: Path) -> None:
    with Store.open(directory, digest=JOB, resume=directory.exists()) as store:
        for key in KEYS:
            kind = key.partition(" ")[0]
            if kind == "folder":
                store.folder(kind, key, lambda place, key=key: build(directory, place, key))
            else:
                store.once(kind, key, lambda key=key: value(directory, key))
            log(directory, "returned", key)


def value(directory: Path, key: str) -> Any:
    log(directory, "computed", key)
    return np.zeros(50_000) if key.startswith("large") else (key, float("inf"))


def build(directory: Path, place: Path, key: str) -> Pipeline:
    log(directory, "computed", key)
    (place / "inner").mkdir()
    (place / "inner" / "weights").write_bytes(key.encode() * 1000)
    (place / "model").write_text(key)
    return Pipeline(directory=place, form="onnx", file="model", inputs=(), outputs=())


def log(directory: Path, what: str, key: str) -> None:
    with open(f"{directory}.log", "a") as file:
        file.write(f"{what} {key}\n")


def crash_before(nth: int) -> None:
    calls = itertools.count()

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted_call(*arguments: Any, **options: Any) -> Any:
            if next(calls) == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return counted_call

    for name in ("write", "fsync", "rename", "ftruncate", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))


def main(lines: Iterator[str]) -> None:
    for line in lines:
        name, crash_at = line.rsplit(maxsplit=1)
        child = os.fork()
        if child == 0:
            crash_before(int(crash_at))
            run(Path(name))
            os._exit(0)
        print(child, flush=True)
        next(lines)  # until then the pid is the child's own, even if it has ended
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main(iter(sys.stdin.readline, ""))
