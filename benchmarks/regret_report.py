"""What regret.py found, as JSON with the raw series and as a table."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from farthing.trial import baseline_trial, usd
from farthing.workshop import Workshop

Series = Mapping[str, Sequence[float]]  # deployment -> USD per million requests in each round of the confirmation


INTRODUCTION = (
    "# Regret of the search",
    "",
    "MiniLM, offline, share prices, one thread. Regret: cost of what was chosen over that of the cheapest"
    " deployment of the grid (`grid.json`, committed before) that keeps the floor, both timed again in turns;"
    " below 1, the choice is not in the grid and cheaper than all of it. Asked: at most 1.05 with at most 30% of"
    " the grid's time. `farthing` is the search as shipped, free to choose any batch size; the second row holds it"
    " to those of the grid. Each build's trial was run once; the searches of the seeds are replayed from it, its"
    " five rounds of timing redrawn, its seconds booked, diagnosis and building included. Random searches get as"
    " much time, and finish what they began.",
    "",
)


def write(folder: Path, shop: Workshop, replayed: Any, confirmed: Series, *, smoke: bool) -> None:
    name = "regret.smoke" if smoke else "regret"
    path = folder / f"{name}.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    results[shop.job.name] = _facts(shop, replayed, confirmed)
    path.write_text(json.dumps(results, indent=1) + "\n")
    text = "\n".join([*INTRODUCTION, *(line for n, facts in results.items() for line in _table(n, facts))])
    path.with_suffix(".md").write_text(text)
    print(text)


def _facts(shop: Workshop, replayed: Any, confirmed: Series) -> dict[str, Any]:
    inputs = replayed.inputs
    best = min((str(d) for d in replayed.contenders), key=lambda name: median(confirmed[name]))
    on_grid = {str(row.deployment): row.usd for row in inputs.rows}
    return {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {name: metadata.version(name) for name in ("farthing", "torch", "onnxruntime", "openvino", "nncf")},
        "grid_s": inputs.grid_s,
        "startup_s": inputs.startup_s,
        "build_s": {str(b): inputs.build_s(b) for b in inputs.trials},
        "opening_s": {str(b): inputs.opening_s(b) for b in inputs.trials},
        "trial_s": {str(b): [t.seconds for t in made] for b, made in inputs.trials.items()},
        "trial_rejected": {
            str(b): f"{made[0].candidate.rejected.stage}: {made[0].candidate.rejected.reason}"
            for b, made in inputs.trials.items()
            if made[0].candidate.rejected
        },
        "keeps_floor": dict(replayed.keeps_floor),
        "baseline_usd": usd(baseline_trial(shop).candidate),
        "grid": [
            {
                "deployment": str(row.deployment), "usd": row.usd, "seconds": row.seconds, "yardstick_s": row.yardstick_s,
                "peak_bytes": row.peak_bytes, "spent_s": row.spent_s,
            }
            for row in inputs.rows
        ],
        "service": {
            str(b): [
                {"shapes": list(zip(t.batch_sizes, t.lengths, strict=True)), "seconds": t.seconds,
                 "baseline_seconds": t.baseline_seconds, "host_s": t.host_s}
                for one in made for t in one.times
            ]
            for b, made in inputs.trials.items()
        },
        "confirmed_usd": dict(confirmed),
        "true_best": best,
        "runs": [
            {
                "searcher": run.searcher, "seed": run.seed, "chosen": str(run.chosen), "believed_usd": run.believed_usd,
                "spent_s": run.spent_s, "time_share": run.spent_s / inputs.grid_s, "asked": run.asked,
            }
            | _regret(str(run.chosen), best, confirmed, on_grid)
            for run in replayed.runs
        ],
    }  # fmt: skip


def _regret(chosen: str, best: str, confirmed: Series, on_grid: Mapping[str, float]) -> dict[str, Any]:
    """Median over rounds of cost(chosen) / cost(best), both of the same round; from the grid where it was not timed again.

    What is neither, which only a random search chose and seldom, is left out of the table.
    """
    if chosen not in confirmed and chosen not in on_grid:
        return {"regret": None, "regret_from": "not timed again"}
    if chosen not in confirmed:
        return {"regret": on_grid[chosen] / on_grid[best], "regret_from": "grid"}
    ratios = [a / b for a, b in zip(confirmed[chosen], confirmed[best], strict=True)]
    return {"regret": median(ratios), "regret_range": [min(ratios), max(ratios)], "regret_from": "confirmation"}


def _table(name: str, facts: Mapping[str, Any]) -> list[str]:
    trials_s = sum(median(seconds) for seconds in facts["trial_s"].values())
    lines = [
        f"## {name}",
        "",
        f"{len(facts['grid'])} deployments of {len(facts['build_s'])} builds, measured in {facts['grid_s']:.0f} s. True best,"
        f" of those that keep the floor: {facts['true_best']}. Trials of all builds: {trials_s:.0f} s; before the first"
        f" question: {facts['startup_s']:.0f} s.",
        "",
        "| searcher, 10 seeds | regret, median | worst | at most 1.05 | share of the grid's time, median (most)"
        " | builds or deployments tried |",
        "|---|---|---|---|---|---|",
    ]
    for searcher in dict.fromkeys(run["searcher"] for run in facts["runs"]):
        runs = [run for run in facts["runs"] if run["searcher"] == searcher and run["regret"] is not None]
        regrets, shares = ([run[what] for run in runs] for what in ("regret", "time_share"))
        tried = [len(run["asked"]) for run in runs]
        lines.append(
            f"| {searcher} | {median(regrets):.3f} | {max(regrets):.3f} | {sum(r <= 1.05 for r in regrets)} of {len(runs)} "
            f"| {median(shares):.0%} ({max(shares):.0%}) | {min(tried)} to {max(tried)} |"
        )
    lines += ["", "| timed again, in turns | USD per million, median [range] | against the true best |", "|---|---|---|"]
    best = facts["confirmed_usd"][facts["true_best"]]
    for deployment, costs in sorted(facts["confirmed_usd"].items(), key=lambda item: median(item[1])):
        ratio = median(a / b for a, b in zip(costs, best, strict=True))
        lines.append(f"| {deployment} | {median(costs):.4f} [{min(costs):.4f}, {max(costs):.4f}] | {ratio:.3f} |")
    lines += ["", "| build | keeps the floor | cheapest of the grid, USD per million | in the grid as |", "|---|---|---|---|"]
    for build, verdict in facts["keeps_floor"].items():
        row = min((r for r in facts["grid"] if r["deployment"].startswith(f"{build} [")), key=lambda r: r["usd"])
        lines.append(f"| {build} | {verdict} | {row['usd']:.4f} | {row['deployment'].rpartition(' [')[2].rstrip(']')} |")
    return [*lines, ""]
