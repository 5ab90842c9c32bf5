"""Regret of the search against a grid measured exhaustively (grid.json), MiniLM, offline, by the share; random beside it.

    python benchmarks/regret.py RUNS measure [NAME ...]    the grid, and every build of the space through the search's own trial
    python benchmarks/regret.py RUNS replay [NAME ...]     10 seeds of the search and of random ones, out of those records
    python benchmarks/regret.py RUNS confirm [NAME ...]    what was chosen and the grid's best, in turns -> results/regret.*

NAME: a distribution of the grid (default: all). Everything is recorded in RUNS when it is done: killed, it goes on. With
SMOKE=1 a minute of everything, which prove nothing.

A trial is real (`trial.try_build`), made REPEATS times per build. A seed's search draws one of them for each build that it
asks for, redraws its rounds of timing with replacement, fits and screens anew, and books the seconds which that trial took,
the building of the build, the conversion before it if it is the first to need it, and the diagnosis. With one trial per build
all that differs between seeds is which of its five rounds count.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import regret_replay as replaying
from farthing import codec, spec, trial
from farthing.errors import BuildError
from farthing.flow import silent
from farthing.measurement import load, session
from farthing.measurement.workers import Worker
from farthing.pricing import Usage, price
from farthing.selection import propose
from farthing.selection.search import Search
from farthing.store import Store
from farthing.types import Build, Deployment, Job
from farthing.workshop import Workshop
from regret_report import write

HERE = Path(__file__).parent
GRID = json.loads((HERE / "grid.json").read_text())
sys.path[:0] = [str(HERE / "jobs"), str(HERE.parent / "examples")]

SMOKE = bool(os.environ.get("SMOKE"))
if SMOKE:
    for facts in GRID["distributions"].values():
        facts |= {"methods": [], "builds": [name for name in facts["builds"] if " + " not in name]}
REPEATS = 1
ROUNDS = 1 if SMOKE else 2  # of every deployment of the grid, after one to warm up
CONFIRMATIONS = 2 if SMOKE else 6  # rounds in turns, at the end
CONTENDERS = 3  # of the grid: its cheapest that keep the floor; the true best is the cheapest of them when timed again
NUM_REQUESTS = 1536  # of the job whose schedule is sampled
TRIES = 1000
YARDSTICK_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Row:
    """One deployment of the grid as it was measured."""

    deployment: Deployment
    usd: float  # per million requests
    seconds: tuple[float, ...]  # per request, one a round
    yardstick_s: tuple[float, ...]
    peak_bytes: float
    spent_s: float  # warming up and all rounds


def main(out: Path, command: str, names: Sequence[str]) -> None:
    steps: Mapping[str, Callable[[Workshop], object]] = {"measure": _measure, "replay": _replay, "confirm": _confirm}
    for name in names or GRID["distributions"]:
        with workshop(out, name) as shop:
            steps[command](shop)


@contextmanager
def workshop(out: Path, name: str) -> Iterator[Workshop]:
    os.environ["FARTHING_HOME"] = str(out / f"{name}-home")
    job = _job(name)
    folder = out / name
    with (
        Store.open(folder, digest=job.digest, resume=(folder / "journal.jsonl").exists()) as store,
        Workshop(job, store, silent) as shop,
    ):
        yield shop


def space(shop: Workshop) -> Search:
    """The shipped search before its first question; its builds are those of the grid."""
    search = propose(shop.job, shop.profile, shop.feasible, trial.usd(trial.baseline_trial(shop).candidate))
    difference = {str(p.build) for p in search.proposals} ^ set(_grid(shop)["builds"])
    if difference:
        raise SystemExit(f"the search and grid.json differ in {sorted(difference)}: commit the grid of this machine first")
    return search


def requests_of(shop: Workshop, deployment: Deployment) -> list[tuple[Any, ...]]:
    """What is timed of a job of NUM_REQUESTS drawn from the search split: a balanced sample of its schedule's batches.

    The schedule is sorted by length with bucketing, else in random order; of every so many batches one is taken. Of TRIES such
    samples, the one whose batches are padded to the mean of the whole schedule.
    """
    requests, draw = shop.job.splits.search.requests, np.random.default_rng(shop.job.seed)
    drawn = draw.integers(len(requests), size=NUM_REQUESTS)
    if deployment.bucketing or deployment.batch_size == 1:
        drawn = drawn[np.argsort(-shop.lengths[drawn], kind="stable")]
    batches = drawn.reshape(-1, deployment.batch_size)
    padded = shop.lengths[batches].max(axis=1)
    num_taken = max(1, _grid(shop)["requests_timed"] // (4 if SMOKE else 1) // deployment.batch_size)
    stride = len(batches) // num_taken
    tries = np.arange(num_taken) * stride + draw.integers(stride, size=(TRIES, num_taken))
    taken = tries[np.argmin(np.abs(padded[tries].mean(axis=1) - padded.mean()))]
    return [requests[i] for i in batches[taken].ravel()]


def usd_per_million(shop: Workshop, deployment: Deployment, seconds: float, peak_bytes: float) -> float:
    """By the share, from seconds per request of the whole deployment."""
    vcpus = deployment.threads * deployment.streams
    usage = Usage(busy_s=seconds, vcpus=vcpus, peak_bytes=peak_bytes, capacity_per_s=1 / seconds)
    return price(usage, shop.demand, shop.tariff).usd_per_million


def grid_rows(shop: Workshop) -> list[Row]:
    """The median round is priced, in seconds as they were: all took turns in one run, each for seconds at a time.

    Brought to the yardstick's one recorded time, as a trial's are, two rounds of a deployment differed by 19% in the median
    instead of 6%: a reading of YARDSTICK_S is itself that uncertain. It stays in the results.
    """
    opened = [shop.store.once("grid build", name, _missing) for name in _grid(shop)["builds"]]
    rounds = [shop.store.once("grid round", str(number), _missing) for number in range(ROUNDS)]
    rows = []
    for deployment in _deployments(shop):
        name, facts = str(deployment), opened[_grid(shop)["builds"].index(str(deployment.build))]
        seconds, yardstick_s = (tuple(r[what][name] for r in rounds) for what in ("seconds", "yardstick_s"))
        peak_bytes = facts["peak_bytes"][name]
        rows.append(
            Row(
                deployment=deployment,
                usd=usd_per_million(shop, deployment, float(np.median(seconds)), peak_bytes),
                seconds=seconds,
                yardstick_s=yardstick_s,
                peak_bytes=peak_bytes,
                spent_s=facts["warm_s"][name] + sum(r["spent_s"][name] for r in rounds),
            )
        )
    return rows


def build_s(shop: Workshop, build: Build) -> float:
    """Seconds of building, in the grid's order: what stands before an int8 method was made by the plain build before it."""
    return shop.store.once("seconds", f"build {build}", _missing)


def opening_s(shop: Workshop, build: Build) -> float:
    """Opening the build for the grid, and its answers to the search split, whose quality is measured once."""
    facts = shop.store.once("grid build", str(build), _missing)
    return facts["open_s"] + facts["answers_s"]


def grid_s(shop: Workshop) -> float:
    builds = [p.build for p in space(shop).proposals]
    return sum(build_s(shop, b) + opening_s(shop, b) for b in builds) + sum(row.spent_s for row in grid_rows(shop))


def startup_s(shop: Workshop) -> float:
    """What the search needs before its first question: ceilings, the baseline's own trial, the diagnosis."""
    return sum(shop.store.once("seconds", what, _missing) for what in ("ceilings", "baseline", "diagnosis"))


class Again:
    """The store, under which a build that was tried is tried once more."""

    def __init__(self, store: Store, number: int) -> None:
        self._store, self._number = store, number

    def once(self, kind: str, key: str, compute: Callable[[], Any]) -> Any:
        return self._store.once(kind, f"{key} {self._number}" if kind == "trial" else key, compute)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def trials(shop: Workshop) -> dict[Build, list[Any]]:
    """Every build's recorded trials; those that are missing are made."""
    store, proposals = shop.store, _plain_first(shop)
    made: dict[Build, list[Any]] = {p.build: [] for p in proposals}
    try:
        for number in range(REPEATS):
            shop.store = Again(store, number)  # type: ignore[assignment]
            for proposal in proposals:
                made[proposal.build].append(trial.try_build(shop, proposal.build, num_candidates=len(proposals)))
    finally:
        shop.store = store
    return made


# ---------------------------------------------------------------- measure


def _measure(shop: Workshop) -> None:
    _timed(shop, "ceilings", lambda: shop.device)
    _timed(shop, "original", lambda: (shop.original, shop.lengths, shop.reference_s, shop.original_predictions("search")))
    _timed(shop, "baseline", lambda: trial.baseline_trial(shop))
    _timed(shop, "diagnosis", lambda: shop.profile)
    for proposal in _plain_first(shop):
        _timed(shop, f"build {proposal.build}", lambda build=proposal.build: _build(shop, build))
    trials(shop)
    _measure_grid(shop)


def _build(shop: Workshop, build: Build) -> None:
    with suppress(BuildError):  # its trial will say so
        trial._built(shop, build)


def _measure_grid(shop: Workshop) -> None:
    directories = {build: made[0].directory for build, made in trials(shop).items()}
    deployments = _deployments(shop)
    with ExitStack() as stack:
        workers = {}
        for build, directory in directories.items():
            started = time.perf_counter()
            workers[build] = stack.enter_context(shop.opened(build, directory, (1, 1)))
            facts = {"open_s": time.perf_counter() - started}
            facts |= _warmed(shop, workers[build], [d for d in deployments if d.build == build])
            shop.store.once("grid build", str(build), lambda facts=facts: facts)
            _tell(shop, f"grid: {build} opened and warm")
        for number in range(ROUNDS):
            shop.store.once("grid round", str(number), lambda number=number: _round(shop, workers, deployments, number))
            _tell(shop, f"grid: round {number}")


def _warmed(shop: Workshop, worker: Worker, deployments: Sequence[Deployment]) -> dict[str, Any]:
    started = time.perf_counter()
    shop.predictions(worker, shop.job.splits.search)
    facts: dict[str, Any] = {"answers_s": time.perf_counter() - started, "warm_s": {}, "peak_bytes": {}}
    for deployment in deployments:  # the smaller batch first: memory that was taken is seldom given back
        facts["warm_s"][str(deployment)] = _run(shop, worker, deployment)
        facts["peak_bytes"][str(deployment)] = worker.rss_bytes()
    return facts


def _round(
    shop: Workshop, workers: Mapping[Build, Worker], deployments: Sequence[Deployment], number: int
) -> dict[str, dict[str, float]]:
    """Every deployment once, in an order of this round's own, each after the yardstick; seconds per request."""
    found: dict[str, dict[str, float]] = {"seconds": {}, "yardstick_s": {}, "spent_s": {}}
    for i in np.random.default_rng(number).permutation(len(deployments)):
        deployment = deployments[i]
        started = time.perf_counter()
        yardstick_s = shop.baseline_worker().call(session.time_round, [shop.reference], YARDSTICK_S)[0]
        seconds = _run(shop, workers[deployment.build], deployment)
        found["seconds"][str(deployment)] = seconds / len(requests_of(shop, deployment))
        found["yardstick_s"][str(deployment)] = yardstick_s
        found["spent_s"][str(deployment)] = time.perf_counter() - started
    return found


def _run(shop: Workshop, worker: Worker, deployment: Deployment) -> float:
    arguments = requests_of(shop, deployment), deployment.batch_size, deployment.bucketing
    return float(worker.call(load.run_offline, *arguments))


# ---------------------------------------------------------------- replay and confirm


def _replay(shop: Workshop) -> replaying.Replayed:
    inputs = replaying.Inputs(
        shop=shop, space=lambda: space(shop), trials=trials(shop), rows=grid_rows(shop), grid_s=grid_s(shop),
        startup_s=startup_s(shop), build_s=lambda b: build_s(shop, b), opening_s=lambda b: opening_s(shop, b),
        num_contenders=CONTENDERS, num_rounds=ROUNDS,
    )  # fmt: skip
    replayed = replaying.replay(inputs)
    _tell(shop, f"{len(replayed.choices)} deployments were chosen or contend; grid {inputs.grid_s:.0f} s")
    return replayed


def _confirm(shop: Workshop) -> None:
    replayed = _replay(shop)
    confirmed = _confirmed(shop, replayed.choices)
    usd = {
        str(d): [usd_per_million(shop, d, r[str(d)], confirmed["peak_bytes"][str(d)]) for r in confirmed["rounds"]]
        for d in replayed.choices
        if str(d) in confirmed["peak_bytes"]
    }
    write(HERE / "results", shop, replayed, usd, smoke=SMOKE)


def _confirmed(shop: Workshop, choices: Sequence[Deployment]) -> Any:
    """Seconds per request in rounds in turns, each deployment in a worker of its own; what was timed together is not again."""
    names = {str(d) for d in choices}
    if known := [c for c in shop.store.records("confirmed") if names <= set(c["peak_bytes"])]:
        return known[0]
    with ExitStack() as stack:
        workers, peaks = [], {}
        for deployment in choices:
            directory = trials(shop)[deployment.build][0].directory
            layout = deployment.threads, deployment.streams
            workers.append(stack.enter_context(shop.opened(deployment.build, directory, layout)))
            _run(shop, workers[-1], deployment)
            peaks[str(deployment)] = workers[-1].rss_bytes()
        rounds = tuple(_confirmation(shop, workers, choices, number) for number in range(CONFIRMATIONS))
        return shop.store.once("confirmed", codec.digest(tuple(sorted(names))), lambda: {"peak_bytes": peaks, "rounds": rounds})


def _confirmation(
    shop: Workshop, workers: Sequence[Worker], deployments: Sequence[Deployment], number: int
) -> dict[str, float]:
    order = np.random.default_rng(100 + number).permutation(len(deployments))
    return {str(deployments[i]): _run(shop, workers[i], deployments[i]) / len(requests_of(shop, deployments[i])) for i in order}


# ---------------------------------------------------------------- what all of them need


def _job(name: str) -> Job:
    fixed = spec.read(HERE / "jobs" / "fixed128.toml")
    asked = fixed
    if name == "paragraphs":
        asked = replace(
            spec.read(HERE.parent / "examples" / "minilm.toml"), floors=fixed.floors, traffic=fixed.traffic, slo=fixed.slo
        )
    grid = GRID["distributions"][name]
    asked = replace(asked, name=name, runtimes=tuple(GRID["runtimes"]), methods=tuple(grid["methods"]))
    return replace(asked, digest=codec.digest((asked.digest, name, grid, REPEATS)))


def _grid(shop: Workshop) -> dict[str, Any]:
    found: dict[str, Any] = GRID["distributions"][shop.job.name]
    return found


def _deployments(shop: Workshop) -> list[Deployment]:
    batchings = _grid(shop)["batchings"]
    return [Deployment(build=p.build, **batching) for p in _plain_first(shop) for batching in batchings]


def _plain_first(shop: Workshop) -> list[Any]:
    return sorted(space(shop).proposals, key=lambda p: _grid(shop)["builds"].index(str(p.build)))


def _timed(shop: Workshop, key: str, call: Callable[[], object]) -> float:
    def compute() -> float:
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    seconds = shop.store.once("seconds", key, compute)
    _tell(shop, f"{key}: {seconds:.1f} s")
    return seconds


def _tell(shop: Workshop, what: str) -> None:
    print(f"{shop.job.name} {shop.store.spent_s:.0f} s: {what}", flush=True)


def _missing() -> Any:
    raise SystemExit("that was not measured yet: run `measure` first")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3:])
