"""How the cheapest answer changes with the rate: MiniLM on paragraphs at 1, 50 and 500 requests/s, billed by whole machines.

    python benchmarks/rates.py RUNS measure    the builds of regret.py's run in RUNS, timed under the other layouts of the cores
    python benchmarks/rates.py RUNS price      screened and priced at each rate -> results/rates.json and .md

The service times are measured once; latency and capacity at each rate are the shipped screening's: a simulated queue, not a
driven load. Other sizes of machine are predicted as copies of the measured one.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from farthing import codec, trial
from farthing.measurement.service import fit_service
from farthing.pricing import demand_of, price, read_tariff
from farthing.results import Cost, Rejected, Trial, percentile
from farthing.selection.screen import PriceOf, Screened, best_deployment, screen
from farthing.selection.simulation import Simulated
from farthing.types import Deployment, Job, Slo, Traffic
from farthing.workshop import Workshop
from regret import trials, workshop
from regret_replay import Judge

RESULTS = Path(__file__).parent / "results"
RATES_PER_S = (1.0, 50.0, 500.0)
P99_S = 0.1
MENU = (
    "c6i.xlarge",
    "c6i.2xlarge",
    "c6i.4xlarge",
    "c6i.8xlarge",
    "c6i.12xlarge",
    "c6i.24xlarge",
)  # beside the measured c6i.large
TIE = 1e-9


def main(out: Path, command: str) -> None:
    with workshop(out, "paragraphs") as shop:
        made = {build: _extended(shop, repeats[0]) for build, repeats in trials(shop).items() if repeats[0].times}
        if command == "measure":
            return
        verdicts = {build: c[0].verdict for build, c in Judge(shop, trials(shop)).alone.items()}
        keeping = [one for build, one in made.items() if verdicts[build] == "PASS"]
        left_out = [str(build) for build in trials(shop) if build not in {one.build for one in keeping}]
        results = {f"{rate:g}": _at_rate(shop, keeping, rate) for rate in RATES_PER_S}
    facts = {"p99_ceiling_s": P99_S, "menu": MENU, "left_out": left_out, "rates": results}
    (RESULTS / "rates.json").write_text(json.dumps(facts, indent=1) + "\n")
    text = "\n".join(_table(facts)) + "\n"
    (RESULTS / "rates.md").write_text(text)
    print(text)


def _extended(shop: Workshop, made: Trial) -> Trial:
    """The share's trial knows one core; whole machines are all cores, as streams or as threads."""
    times = [
        shop.store.once(
            "layout",
            codec.digest((made.build, layout)),
            lambda layout=layout: trial.extend(shop, replace(made, times=(), services=()), layout).times[0],
        )
        for layout in ((1, shop.num_cores), (shop.num_cores, 1))
    ]
    print(f"{shop.store.spent_s:.0f} s: {made.build}", flush=True)
    return replace(made, times=tuple(times), services=tuple(fit_service(one, shop.reference_s) for one in times))


def _at_rate(shop: Workshop, made: list[Trial], rate: float) -> dict[str, Any]:
    job = replace(
        shop.job,
        traffic=Traffic(scenario="server", rate_per_s=rate),
        slo=Slo(latency_p99_s=P99_S),
        prices=replace(shop.job.prices, mode="whole_machines", menu=MENU),
    )
    found = {one.build: best_deployment(one.build, one.services, job, shop.lengths, _price_of(shop, job, one)) for one in made}
    original = next(one for one in made if one.build == shop.baseline.build)
    today = Deployment(build=original.build, threads=shop.num_cores)
    service = next(s for s in original.services if (s.threads, s.streams) == (today.threads, today.streams))
    kept = screen(today, service, job, shop.lengths, _price_of(shop, job, original))
    held = sorted((f for f in found.values() if isinstance(f, Screened)), key=lambda f: f.cost.usd_per_month)
    return {
        "baseline": None if kept is None else _facts(kept),
        "builds": [_facts(one) for one in held],
        "rejected": {str(build): f.reason for build, f in found.items() if isinstance(f, Rejected)},
    }


def _price_of(shop: Workshop, job: Job, made: Trial) -> PriceOf:
    demand, tariff = demand_of(job.traffic), read_tariff(job.prices, shop.device)

    def price_of(deployment: Deployment, simulated: Simulated, capacity_per_s: float) -> Cost:
        return price(shop.usage_of(made, deployment, simulated, capacity_per_s), demand, tariff)

    return price_of


def _facts(found: Screened) -> dict[str, Any]:
    return {
        "build": str(found.deployment.build),
        "deployment": str(found.deployment),
        "usd_per_month": found.cost.usd_per_month,
        "machines": found.cost.machine,
        "capacity_per_s": found.capacity_per_s,
        "latency_p99_s": percentile(found.simulated.latencies_s, 99),
    }


def _table(facts: dict[str, Any]) -> list[str]:
    lines = [
        "# The cheapest answer at three rates, whole machines",
        "",
        f"MiniLM on paragraphs, p99 at most {facts['p99_ceiling_s'] * 1e3:g} ms, Poisson arrivals, 20% headroom, no"
        " spare; c6i of any size. Service times measured on two cores; queue, latency and capacity simulated; sizes above"
        " c6i.large predicted as copies of it. Left out, since they do not keep the floor:"
        f" {'; '.join(facts['left_out']) or 'none'}.",
        "",
    ]
    for rate, found in facts["rates"].items():
        kept, builds = found["baseline"], found["builds"]
        cheapest = builds[0]["usd_per_month"]
        ties = sum(one["usd_per_month"] <= cheapest * (1 + TIE) for one in builds)
        today = (
            "holds the ceiling at no rate" if kept is None else f"{kept['usd_per_month']:.0f} USD a month ({kept['machines']})"
        )
        lines += [
            f"## {rate} requests/s",
            "",
            f"As it is run today (eager, {'both cores' if kept else 'all cores'}, batch 1): {today}. Cheapest: {cheapest:.0f}"
            f" USD, which {ties} of {len(builds)} builds cost.",
            "",
            "| build, its cheapest deployment | USD a month | machines | one machine carries, requests/s | p99, ms |",
            "|---|---|---|---|---|",
            *(
                f"| {one['deployment']} | {one['usd_per_month']:.0f} | {one['machines']} | {one['capacity_per_s']:.0f} "
                f"| {one['latency_p99_s'] * 1e3:.0f} |"
                for one in builds
            ),
            *(f"| {build} | rejected: {why} | | | |" for build, why in found["rejected"].items()),
            "",
        ]
    return lines


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2])
