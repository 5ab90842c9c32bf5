"""One generator process: sends each request at its time whether or not earlier ones were answered, and keeps the tally."""

import asyncio
import gc
import pickle
import resource
import select
import selectors
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from hdrh.histogram import HdrHistogram

from farthing.bench.client import Clients, Request
from farthing.bench.load import Endpoint
from farthing.types import Array

HIGHEST_US = 3_600_000_000
DIGITS = 3  # significant, of the histograms
SHED = ("429", "503")
TIMEOUT = "timeout"
TIMEOUT_CHECK_S = 0.02
MOST_AT_ONCE = 32  # sends before answers are looked at again
SPARE_FILES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One process's share of a load; pickled to it."""

    target: Endpoint
    address: str  # of the host, looked up once
    payloads: list[bytes]
    indices: Array  # which payload each request sends
    send_at_s: Array
    judged_from_s: float  # earlier ones are warm-up
    timeout_s: float
    slo_s: float | None
    connections: int


def _histogram() -> HdrHistogram:
    return HdrHistogram(1, HIGHEST_US, DIGITS)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What happened to the judged requests of one process; `add` makes one of several."""

    latency: HdrHistogram = field(default_factory=_histogram)  # of good answers, from the intended send, in microseconds
    lag: HdrHistogram = field(default_factory=_histogram)  # how much later than intended a request was taken up
    outcomes: Counter[str] = field(default_factory=Counter)  # HTTP statuses, or what went wrong
    timeline: Counter[tuple[int, str]] = field(default_factory=Counter)  # good, shed, failed by the second of the intended send
    slowest_s: dict[int, float] = field(default_factory=dict)  # good answer of that second
    num_in_time: int = 0
    intended_s: tuple[float, float] = (float("inf"), 0.0)  # first and last
    sent_s: tuple[float, float] = (float("inf"), 0.0)
    ended_s: float = 0.0  # the last answer
    num_waited: int = 0  # for a connection, because all were busy
    num_opened: int = 0
    cpu_s: float = 0.0

    def add(self, other: "Tally") -> None:
        self.latency.add(other.latency)
        self.lag.add(other.lag)
        self.outcomes.update(other.outcomes)
        self.timeline.update(other.timeline)
        for second, latency_s in other.slowest_s.items():
            self.slowest_s[second] = max(self.slowest_s.get(second, 0.0), latency_s)
        self.intended_s = _span(self.intended_s, other.intended_s)
        self.sent_s = _span(self.sent_s, other.sent_s)
        self.ended_s = max(self.ended_s, other.ended_s)
        for name in ("num_in_time", "num_waited", "num_opened", "cpu_s"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def __getstate__(self) -> dict[str, object]:
        state = {name: getattr(self, name) for name in self.__slots__}
        return state | {"latency": self.latency.encode(), "lag": self.lag.encode()}

    def __setstate__(self, state: dict[str, object]) -> None:
        for name, value in state.items():
            setattr(self, name, HdrHistogram.decode(value) if name in ("latency", "lag") else value)


class Sender:
    def __init__(self, task: Task, start_s: float) -> None:
        self._task, self._start_s = task, start_s
        self._at_s, self._indices = task.send_at_s.tolist(), task.indices.tolist()
        self._loop = asyncio.get_running_loop()
        self._clients = Clients(task.target, task.address, task.connections, self._finished)
        self._under_way: dict[Request, None] = {}  # in the order of their times, so the oldest is first
        self._next = 0
        self._done = self._loop.create_future()
        self._tally = Tally()

    async def run(self) -> Tally:
        self._loop.call_at(self._start_s + self._at_s[0], self._send_due)
        self._loop.call_later(TIMEOUT_CHECK_S, self._give_up_late)
        await self._done
        self._clients.close()
        self._tally.num_waited, self._tally.num_opened = self._clients.num_waited, self._clients.num_opened
        self._tally.cpu_s = time.process_time()
        return self._tally

    def _send_due(self) -> None:
        for _ in range(MOST_AT_ONCE):
            now_s = self._loop.time() - self._start_s
            at_s = self._at_s[self._next]
            if at_s > now_s:
                break
            if at_s >= self._task.judged_from_s:
                self._note_sent(at_s, now_s)
            request = Request(at_s, self._task.payloads[self._indices[self._next]])
            self._under_way[request] = None
            self._next += 1
            self._clients.send(request)
            if self._next == len(self._at_s):
                return
        self._loop.call_at(self._start_s + self._at_s[self._next], self._send_due)

    def _note_sent(self, at_s: float, now_s: float) -> None:
        tally = self._tally
        tally.lag.record_value(_microseconds(now_s - at_s))
        tally.intended_s = (min(tally.intended_s[0], at_s), at_s)
        tally.sent_s = (min(tally.sent_s[0], now_s), now_s)

    def _finished(self, request: Request, outcome: str) -> None:
        if request.over:
            return
        request.over = True
        self._under_way.pop(request, None)
        if request.at_s >= self._task.judged_from_s:
            self._note_outcome(request.at_s, self._loop.time() - self._start_s, outcome)
        if self._next == len(self._at_s) and not self._under_way and not self._done.done():
            self._done.set_result(None)

    def _note_outcome(self, at_s: float, now_s: float, outcome: str) -> None:
        tally, latency_s, second = self._tally, now_s - at_s, int(at_s - self._task.judged_from_s)
        tally.outcomes[outcome] += 1
        tally.timeline[second, kind(outcome)] += 1
        tally.ended_s = now_s
        if kind(outcome) == "good":
            tally.latency.record_value(_microseconds(latency_s))
            tally.slowest_s[second] = max(tally.slowest_s.get(second, 0.0), latency_s)
            tally.num_in_time += self._task.slo_s is None or latency_s <= self._task.slo_s

    def _give_up_late(self) -> None:
        limit_s = self._loop.time() - self._start_s - self._task.timeout_s
        while self._under_way and (request := next(iter(self._under_way))).at_s < limit_s:
            self._clients.give_up(request)
            self._finished(request, TIMEOUT)
        if not self._done.done():
            self._loop.call_later(TIMEOUT_CHECK_S, self._give_up_late)


class Punctual(selectors.EpollSelector):
    """Epoll rounds a timeout up to a whole millisecond; `select` on the epoll's own descriptor keeps microseconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def kind(outcome: str) -> str:
    """good: any 2xx; shed: refused early and honestly; failed: every other status, and what never was an answer."""
    return "good" if outcome[0] == "2" else "shed" if outcome in SHED else "failed"


def _microseconds(value_s: float) -> int:
    return min(max(int(value_s * 1e6), 0), HIGHEST_US)


def _span(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return min(one[0], other[0]), max(one[1], other[1])


def serve() -> None:
    """A Task on standard input, `ready`, then the start on the monotonic clock; the Tally on standard output."""
    task: Task = pickle.load(sys.stdin.buffer)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = task.connections + SPARE_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    gc.freeze()
    gc.set_threshold(100_000)
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.buffer.flush()
    start_s = float(sys.stdin.buffer.readline())

    async def send() -> Tally:
        return await Sender(task, start_s).run()

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(Punctual())) as runner:
        tally = runner.run(send())
    pickle.dump(tally, sys.stdout.buffer)
