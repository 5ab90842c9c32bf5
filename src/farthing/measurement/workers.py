"""Worker processes: each holds one build, runs one call at a time, and may crash, hang or grow without taking us along."""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from farthing import errors
from farthing.errors import BuildCrashed, BuildError, BuildOutOfMemory, BuildTimeout, FarthingError
from farthing.units import gib

POLL_S = 0.1
START_TIMEOUT_S = 120.0


class Worker:
    """A fresh interpreter (never a fork: no thread pool or memory of ours is shared) that runs module-level functions.

    `call(function, ...)` runs `function(state, ...)` over there, where `state` is a dict that lives as long as the worker.
    What the function gives to `state["tell"]` on the way, `told` is called with over here.
    Not started by `multiprocessing`: that would run the caller's main script again, guarded or not.
    """

    def __init__(
        self, *, log: Path, max_rss_bytes: float, timeout_s: float, told: Callable[[Any], None] = lambda _: None
    ) -> None:
        self._max_rss_bytes, self._timeout_s, self._log, self._told = max_rss_bytes, timeout_s, log, told
        ours, theirs = Pipe()
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "farthing.measurement.workers", str(theirs.fileno()), str(os.getpid())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,  # Ctrl-C is ours to handle; a kill takes the worker's own children along
            )
        theirs.close()
        self._pipe: Connection = ours

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def call(self, function: Callable[..., Any], /, *args: Any, timeout_s: float | None = None, **kwargs: Any) -> Any:
        """Raises what the function raised if it is a FarthingError, BuildError for other libraries' errors, and
        BuildCrashed, BuildTimeout or BuildOutOfMemory after having killed the worker."""
        self.begin(function, *args, **kwargs)
        return self.finish(timeout_s)

    def begin(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Start a call and come back at once; `finish` waits for its answer."""
        try:
            self._pipe.send((f"{function.__module__}:{function.__qualname__}", args, kwargs))
        except OSError as error:
            raise BuildCrashed(self._obituary()) from error

    def finish(self, timeout_s: float | None = None) -> Any:
        timeout_s = timeout_s or self._timeout_s
        deadline = time.monotonic() + timeout_s
        while True:
            kind, value = self._received(deadline, timeout_s)
            if kind != "told":
                break
            self._told(value)
        if kind == "ok":
            return value
        name, message = value
        raise _error(name, message)

    def _received(self, deadline: float, timeout_s: float) -> tuple[str, Any]:
        """The next that the worker sends."""
        while not self._pipe.poll(POLL_S):
            if time.monotonic() > deadline:
                self.stop()
                raise BuildTimeout(f"ran past its limit of {timeout_s:g} s and was killed")
            rss_bytes = self.rss_bytes()
            if rss_bytes > self._max_rss_bytes:
                self.stop()
                limit = gib(self._max_rss_bytes)
                raise BuildOutOfMemory(f"grew to {gib(rss_bytes):.2f} GiB, past its limit of {limit:.2f} GiB, and was killed")
        try:
            kind, value = self._pipe.recv()
        except EOFError:
            raise BuildCrashed(self._obituary()) from None
        return kind, value

    def rss_bytes(self) -> float:
        """Resident memory of the worker and of the processes it started."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            return float(sum(p.memory_info().rss for p in (process, *process.children(recursive=True))))
        return 0.0

    def stop(self) -> None:
        """Kill the worker with everything that it started; safe to call twice."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._pipe.close()

    def _obituary(self) -> str:
        code = self._process.wait()
        cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        tail = self._log.read_bytes()[-300:].decode(errors="replace").strip().rpartition("\n")[2]
        return f"its worker died ({cause}){': ' + tail if tail else ''}"


def _error(name: str, message: str) -> Exception:
    known = getattr(errors, name, None)
    if isinstance(known, type) and issubclass(known, FarthingError) and known is not errors.MissingExtra:
        return known(message)
    if name in ("AssertionError", "NameError"):  # a bug of ours is not a property of the build
        return RuntimeError(f"{name} in a worker: {message}")
    return BuildError(message if known else f"{name}: {message}")


def _main(descriptor: int, parent: int) -> None:
    _die_with(parent)
    pipe = Connection(descriptor)
    state: dict[str, Any] = {"tell": lambda value: pipe.send(("told", value))}
    while True:
        try:
            path, args, kwargs = pipe.recv()
        except EOFError:
            return
        module, _, name = path.partition(":")
        try:
            pipe.send(("ok", getattr(importlib.import_module(module), name)(state, *args, **kwargs)))
        except MemoryError as error:
            pipe.send(("error", ("BuildOutOfMemory", str(error) or "the allocator had no memory left")))
        except Exception as error:  # noqa: BLE001 - it crosses a process boundary and is raised again over there
            import traceback

            traceback.print_exc()
            pipe.send(("error", (type(error).__name__, str(error)[:2000])))


def _die_with(parent: int) -> None:
    """Ask Linux to kill this worker when its parent dies, even by kill -9: nobody would read its answer."""
    if sys.platform != "linux":
        return
    import ctypes

    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
