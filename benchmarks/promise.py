"""The promise: how often a search accepts a build at the margin, and how often it certifies a lossless one, by simulation.

python benchmarks/promise.py [accuracy cosine spearman million]     merges what it ran into results/promise.json and .md

Each simulated search goes through the shipped code: the race on search, the naming of finalists, their certificates on verify.
In the first mix, 45 candidates lose exactly what the floor allows and are the cheapest, 10 lose ten times that, and 5, the
dearest, lose nothing. In the second all 45 are at the margin: there is nothing that may be accepted. Verify has as many
items as farthing calls sufficient, having seen search.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

import numpy as np

from farthing import certification
from farthing.certification.finalists import POWER
from farthing.certification.proportions import clopper_pearson
from farthing.certification.questions import questions
from farthing.results import Evidence
from farthing.types import Array, Floor

RESULTS = Path(__file__).parent / "results"
MIXED = {"margin": 45, "bad": 10, "lossless": 5}  # the cheapest first
ALL_AT_THE_MARGIN = {"margin": 50}
BAD_FACTOR = 10.0  # a bad candidate's drop, in limits
NUM_SEARCH = 1_000
NUM_UNSPLIT = 200  # searches without the alpha split: enough to see it break the promise
FALSE_ACCEPTANCE_LIMIT, CONFIDENCE = 0.07, 0.95
MILLION = 1_000_000
Draw = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class World:
    """How answers come about: `items(draw, n)` are what all share, `answer(items, draw, kind, drop)` one candidate's."""

    floor: Floor
    items: Callable[[Draw, int], Mapping[str, Array]]  # "labels" (or none) and "original"
    answer: Callable[[Mapping[str, Array], Draw, int, float], Array]  # of true drop `drop`; `kind` varies its shape
    num_searches: int = 1000


@dataclass(frozen=True, kw_only=True)
class Result:
    """Counts of searches, unless said otherwise."""

    floor: str
    searches: int
    accepted_falsely: int
    accepted_falsely_upper_95: float  # of the share
    lossless_certified: int  # at least one
    chosen_lossless: int  # the cheapest that was certified
    rule_accepts_falsely: int  # "the first candidate within the limit on a point estimate", on as many items
    race_rejected_bad_share: float
    race_rejected_lossless: int  # any
    median_items_of_the_bad: float  # seen by the race
    median_verify_items: float
    margin_accepted_falsely: int  # nothing but candidates at the margin
    margin_accepted_falsely_upper_95: float
    unsplit_searches: int
    unsplit_accepted_falsely: int  # the same with alpha given whole to each finalist, as it must not be
    unsplit_accepted_falsely_upper_95: float
    seconds: float


# ---------------------------------------------------------------- worlds


def accuracy_items(draw: Draw, n: int) -> dict[str, Array]:
    labels = draw.integers(0, 10, n)
    return {"labels": labels, "original": np.where(draw.random(n) < 0.9, labels, (labels + 1) % 10)}


def accuracy_answer(items: Mapping[str, Array], draw: Draw, kind: int, drop: float) -> Array:
    """Right ones lost and wrong ones won: P(lost) - P(won) = drop; the candidates differ in how much they win back."""
    won = 0.004 * (1 + kind % 4) if drop else 0.005
    right = items["original"] == items["labels"]
    chance = np.where(right, (won + drop) / 0.9, won / 0.1)
    return np.where(
        draw.random(len(right)) < chance, np.where(right, (items["labels"] + 2) % 10, items["labels"]), items["original"]
    )


def cosine_items(draw: Draw, n: int) -> dict[str, Array]:
    angles = draw.uniform(0, 2 * np.pi, n)
    return {"original": np.stack([np.cos(angles), np.sin(angles)], axis=1)}


def cosine_answer(items: Mapping[str, Array], draw: Draw, kind: int, drop: float) -> Array:
    """1 - cosine has mean `drop`: spread over all items, over one in ten, or all of it on a few that fail altogether."""
    n, mean = len(items["original"]), drop or 1e-4
    share = (1.0, 0.1, min(1.0, mean))[kind % 3] if drop else 1.0
    failing = draw.random(n) < share
    loss = failing * (draw.beta(2, 2 * (share / mean - 1), n) if share > mean else 1.0)
    turn = np.arccos(1 - loss)
    x, y = items["original"].T
    return np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1)


SPEARMAN = 0.8  # of the original, in the population


def spearman_items(draw: Draw, n: int) -> dict[str, Array]:
    r = _pearson(SPEARMAN)
    labels, noise = draw.standard_normal(n), draw.standard_normal(n)
    return {"labels": labels, "noise": noise, "original": r * labels + np.sqrt(1 - r * r) * noise}


def spearman_answer(items: Mapping[str, Array], draw: Draw, kind: int, drop: float) -> Array:
    """Gaussian answers whose population correlation is SPEARMAN - drop, and whose noise is partly the original's."""
    r, shared = _pearson(SPEARMAN - drop), (0.95, 0.97, 0.99)[kind % 3]
    noise = shared * items["noise"] + np.sqrt(1 - shared**2) * draw.standard_normal(len(items["noise"]))
    return r * items["labels"] + np.sqrt(1 - r * r) * noise


def _pearson(spearman: float) -> float:
    """Of two Gaussians with this rank correlation (Pearson 1907)."""
    return float(2 * np.sin(np.pi * spearman / 6))


WORLDS = {
    "accuracy": World(floor=Floor(metric="accuracy", max_drop=0.01), items=accuracy_items, answer=accuracy_answer),
    "cosine": World(floor=Floor(metric="cosine", max_drop=0.01), items=cosine_items, answer=cosine_answer),
    "spearman": World(
        floor=Floor(metric="spearman", max_drop=0.02), items=spearman_items, answer=spearman_answer
    ),  # fewer and looser: its bootstrap takes several times as long
}


# ---------------------------------------------------------------- one search


@dataclass(frozen=True, kw_only=True)
class Search:
    accepted: tuple[str, ...]  # certified, the cheapest first
    rejected_at: Mapping[str, int]  # by the race, after so many items
    num_verify: int


def simulate(world: World, seed: int, mix: Mapping[str, int], *, num_search: int = NUM_SEARCH) -> Search:
    """One search through the shipped code, of so many candidates at the margin, bad and lossless."""
    draw, floors = np.random.default_rng(seed), (world.floor,)
    names = names_of(mix)
    evidence = answers(world, [*names, "lossless99"], num_search, draw)  # the last: what a lossless one would look like
    race = certification.Race(floors, num_items=num_search, num_candidates=len(names))
    survivors, rejected_at = {}, {}
    for name in names:
        seen, reason = race.run(partial(_first, evidence[name]))
        if reason:
            rejected_at[name] = len(seen.original)
        else:
            survivors[name] = seen
    num_verify = int(certification.items_needed(evidence["lossless99"], world.floor))
    finalists = certification.name_finalists(survivors, floors, num_verify=num_verify)
    certificates = certification.certify_finalists(answers(world, finalists, num_verify, draw), floors, seed=seed)
    accepted = [name for name in names if name in finalists and all(c.verdict == "PASS" for c in certificates[name])]
    return Search(accepted=tuple(accepted), rejected_at=rejected_at, num_verify=num_verify)


def answers(world: World, names: Sequence[str], n: int, draw: Draw) -> dict[str, Evidence]:
    """Fresh items, and the answers of these candidates to them."""
    assert world.floor.max_drop is not None
    items = world.items(draw, n)
    drops = {"margin": world.floor.max_drop, "bad": BAD_FACTOR * world.floor.max_drop, "lossless": 0.0}
    found = {}
    for name in names:
        group = name.rstrip("0123456789")
        candidate = world.answer(items, draw, int(name[len(group) :]), drops[group])
        found[name] = Evidence(original=items["original"], candidate=candidate, labels=items.get("labels"))
    return found


def _first(evidence: Evidence, n: int) -> Evidence:
    labels = None if evidence.labels is None else evidence.labels[:n]
    return Evidence(original=evidence.original[:n], candidate=evidence.candidate[:n], labels=labels)


def point_rule(world: World, seed: int, mix: Mapping[str, int], num_items: int) -> str | None:
    """The first candidate whose drop on so many items is at most what is allowed: how tuners decide that score on one set."""
    draw = np.random.default_rng([seed, 1])
    for name in names_of(mix):
        (question,) = questions(answers(world, [name], num_items, draw)[name], world.floor)
        if question.drop <= question.limit:
            return name
    return None


def names_of(mix: Mapping[str, int]) -> list[str]:
    return [f"{group}{i}" for group, count in mix.items() for i in range(count)]


# ---------------------------------------------------------------- all of them


def run(name: str) -> Result:
    world, started = WORLDS[name], time.perf_counter()
    searches = [simulate(world, seed, MIXED) for seed in range(world.num_searches)]
    rules = [point_rule(world, seed, MIXED, search.num_verify) for seed, search in enumerate(searches)]
    false = sum(any(not _is_lossless(a) for a in s.accepted) for s in searches)
    at_margin = false_acceptances(name, world.num_searches)
    unsplit = false_acceptances(name, NUM_UNSPLIT, split_alpha=False)
    return Result(
        floor=f"{name}, drop {world.floor.max_drop}",
        searches=world.num_searches,
        accepted_falsely=false,
        accepted_falsely_upper_95=upper_95(false, world.num_searches),
        lossless_certified=sum(any(_is_lossless(a) for a in s.accepted) for s in searches),
        chosen_lossless=sum(bool(s.accepted) and _is_lossless(s.accepted[0]) for s in searches),
        rule_accepts_falsely=sum(name is not None and not _is_lossless(name) for name in rules),
        race_rejected_bad_share=sum(n.startswith("bad") for s in searches for n in s.rejected_at)
        / (world.num_searches * MIXED["bad"]),
        race_rejected_lossless=sum(any(_is_lossless(n) for n in s.rejected_at) for s in searches),
        median_items_of_the_bad=float(
            np.median([n for s in searches for b, n in s.rejected_at.items() if b.startswith("bad")])
        ),
        median_verify_items=float(np.median([s.num_verify for s in searches])),
        margin_accepted_falsely=at_margin,
        margin_accepted_falsely_upper_95=upper_95(at_margin, world.num_searches),
        unsplit_searches=NUM_UNSPLIT,
        unsplit_accepted_falsely=unsplit,
        unsplit_accepted_falsely_upper_95=upper_95(unsplit, NUM_UNSPLIT),
        seconds=time.perf_counter() - started,
    )


def false_acceptances(
    name: str,
    num_searches: int,
    *,
    split_alpha: bool = True,
    mix: Mapping[str, int] = MappingProxyType(ALL_AT_THE_MARGIN),
    num_search: int = NUM_SEARCH,
) -> int:
    """Searches that accept something. Without `split_alpha` each finalist is tested at all of it: what Holm prevents."""

    def whole(keys: Iterable[str], alpha: float, test: Callable[[str, float], Any], passed: object) -> dict[str, Any]:
        return {key: test(key, alpha) for key in keys}

    def count() -> int:
        return sum(bool(simulate(WORLDS[name], seed, mix, num_search=num_search).accepted) for seed in range(num_searches))

    if split_alpha:
        return count()
    with mock.patch("farthing.certification.finalists.holm", whole):
        return count()


def upper_95(count: int, total: int) -> float:
    return clopper_pearson(count, total, 1 - CONFIDENCE)[1]


def _is_lossless(name: str) -> bool:
    return name.startswith("lossless")


# ---------------------------------------------------------------- a million pairs


def time_million() -> dict[str, float]:
    """Seconds for one certificate on a million paired items, by metric."""
    draw, n = np.random.default_rng(0), MILLION
    labels = draw.integers(0, 10, n)
    scores = (draw.standard_normal((n, 10)) + 2 * np.eye(10)[labels]).astype(np.float32)
    near = (scores + 0.05 * draw.standard_normal(scores.shape)).astype(np.float32)
    number = (labels + draw.standard_normal(n)).astype(np.float32)
    other = (number + 0.05 * draw.standard_normal(n)).astype(np.float32)
    many = Evidence(original=scores, candidate=near, labels=labels)
    one = Evidence(original=number, candidate=other, labels=labels.astype(float))
    two = Evidence(original=number, candidate=other, labels=(labels > 4).astype(int))
    jobs = {
        **{name: many for name in ("accuracy", "argmax_agreement", "macro_f1", "ndcg@10", "cosine", "kl")},
        **{"spearman": one, "rmse": one, "roc_auc": two},
    }
    seconds = {}
    for metric, evidence in jobs.items():
        started = time.perf_counter()
        certification.certify(evidence, Floor(metric=metric, max_drop=0.01), alpha=0.05)
        seconds[metric] = time.perf_counter() - started
    return seconds


# ---------------------------------------------------------------- the report


def main() -> None:
    wanted = sys.argv[1:] or [*WORLDS, "million"]
    path = RESULTS / "promise.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"worlds": {}, "million": {}}
    for name in wanted:
        if name == "million":
            found["million"] = time_million()
        else:
            found["worlds"][name] = asdict(run(name))
        found["environment"] = {"python": platform.python_version(), "numpy": np.__version__, "cores": os.cpu_count()}
        path.write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "promise.md").write_text(markdown(found))
    print(markdown(found))


def markdown(found: Mapping[str, Any]) -> str:
    worlds = [Result(**facts) for facts in found["worlds"].values()]
    mixed = (
        f"{sum(MIXED.values())} candidates a search: {MIXED['margin']}, the cheapest, lose exactly what the floor allows, "
        f"{MIXED['bad']} lose {BAD_FACTOR:g} times that, and {MIXED['lossless']}, the dearest, lose nothing. "
        f"Confidence {CONFIDENCE}; {NUM_SEARCH} items on search; on verify, what farthing calls sufficient for a power of "
        f"{POWER:g}. Asked: 95% upper bound of false acceptance at most {FALSE_ACCEPTANCE_LIMIT:.0%}, lossless ones "
        f"certified in at least {POWER:.0%} of searches. Point rule: the first candidate whose drop on as many items is within "
        "the limit, as tuners decide that score on one set."
    )
    margin = f"Nothing but {ALL_AT_THE_MARGIN['margin']} candidates at the margin, the worst that can be brought; and the race."
    return "\n".join(
        [
            f"# The promise, by simulation\n\n{mixed}\n",
            _row(
                "floor",
                "searches",
                "accepted falsely",
                "95% upper bound",
                "lossless certified",
                "cheapest certified is lossless",
                "verify items (median)",
                "point rule accepts falsely",
            ),
            _row(*["---"] * 8),
            *(
                _row(
                    r.floor,
                    r.searches,
                    _share(r.accepted_falsely, r),
                    f"{r.accepted_falsely_upper_95:.1%}",
                    _share(r.lossless_certified, r),
                    _share(r.chosen_lossless, r),
                    f"{r.median_verify_items:.0f}",
                    _share(r.rule_accepts_falsely, r),
                )
                for r in worlds
            ),
            f"\n{margin}\n",
            _row(
                "floor",
                "accepted falsely",
                "95% upper bound",
                "without the alpha split",
                "its 95% upper bound",
                "bad ones rejected by the race",
                "after items (median)",
                "races that lost a lossless one",
            ),
            _row(*["---"] * 8),
            *(
                _row(
                    r.floor,
                    _share(r.margin_accepted_falsely, r),
                    f"{r.margin_accepted_falsely_upper_95:.1%}",
                    f"{r.unsplit_accepted_falsely / r.unsplit_searches:.1%}",
                    f"{r.unsplit_accepted_falsely_upper_95:.1%}",
                    f"{r.race_rejected_bad_share:.1%}",
                    f"{r.median_items_of_the_bad:.0f}",
                    r.race_rejected_lossless,
                )
                for r in worlds
            ),
            *(f"\nNot run yet: {name}." for name in WORLDS if name not in found["worlds"]),
            "\nOne certificate on a million paired items (asked: under 5 s):\n",
            _row("metric", "seconds"),
            _row("---", "---"),
            *(_row(metric, f"{seconds:.2f}") for metric, seconds in found["million"].items()),
            "",
        ]
    )


def _share(count: int, result: Result) -> str:
    return f"{count / result.searches:.1%}"


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    main()
