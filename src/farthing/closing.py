"""Once the choice is made: each of the winner's steps left out in turn, its worth reckoned, all of it packed."""

import math
import platform
from dataclasses import replace
from importlib import metadata

from farthing import artifact, codec, plugins
from farthing import pipeline as pipelines
from farthing.artifact import Sample
from farthing.methods.base import Method
from farthing.pricing import Usage, break_even, cheapest_price_ratios, cheapest_rates, left_out, search_usd
from farthing.results import Bar, Decision, ServiceModel, Trial
from farthing.runtimes.base import Runtime
from farthing.selection.search import Search
from farthing.trial import baseline_trial, extend, screened, try_build, usd
from farthing.types import Build, Deployment, MemberRef
from farthing.units import MILLION
from farthing.wording import MORE_MINUTES
from farthing.wording import usd as in_usd
from farthing.workshop import Workshop, service_of

LEAST_LOSS = 0.1  # of the bill: two trials of one build on a busy machine differed by a tenth


def complete(shop: Workshop, decision: Decision, search: Search) -> Decision:
    """The decision with its saving, its waterfall, its break-even, the ranges in which it holds, and a summary."""
    winner = _trial_of(shop, decision, search)
    if decision.verdict == "saves" and winner is not None:
        bars = _waterfall(shop, winner)
        saved = usd(decision.baseline) - usd(winner.candidate)
        decision = replace(
            decision,
            saving=winner.candidate.figure("cost_ratio"),
            waterfall=bars,
            interaction_usd_per_million=saved - sum(bar.usd_per_million_saved for bar in bars),
            notes=(*decision.notes, *_that_cost(bars, usd(winner.candidate))),
        )
    decision = _reckoned(shop, decision, search, winner)
    return replace(decision, summary=_summary(decision), environment=_environment(shop))


def pack(shop: Workshop, decision: Decision) -> Decision:
    """Save the chosen build as an artifact; "keep" packs the original as it is, "nothing" packs nothing."""
    if decision.chosen is None:
        return decision
    build = decision.chosen.deployment.build
    trial = baseline_trial(shop) if build == shop.baseline.build else try_build(shop, build, num_candidates=1)
    layout = decision.chosen.deployment.threads, decision.chosen.deployment.streams
    verify = shop.job.splits.verify
    carried = Sample(items=verify, original=shop.original_predictions("verify")) if shop.job.carry_sample else None
    target = shop.store.directory / "artifact"
    decision = replace(decision, artifact=target.name)
    artifact.save(
        pipelines.read(trial.directory or shop.original.directory),
        target,
        decision=decision,
        original_digest=codec.digest_tree(shop.original.directory),
        carried=carried,
        service=next((s for s in trial.services if (s.threads, s.streams) == layout), None),
    )
    return decision


def _waterfall(shop: Workshop, winner: Trial) -> tuple[Bar, ...]:
    """What each step saves: the winner without it, measured and priced like every other trial."""
    deployment = winner.candidate.deployment
    bars = [_build_bar(shop, winner, str(step), _without(winner.build, step)) for step in winner.build.recipe]
    if winner.build.runtime != shop.baseline.build.runtime:
        bars.append(
            _build_bar(shop, winner, str(winner.build.runtime), replace(winner.build, runtime=shop.baseline.build.runtime))
        )
    plain = shop.baseline
    if deployment.bucketing:
        bars.append(_deployment_bar(shop, winner, "bucketing by length", replace(deployment, bucketing=False)))
    if deployment.batch_size != plain.batch_size:
        alone = replace(deployment, batch_size=plain.batch_size, batch_delay_s=0.0, bucketing=False)
        bars.append(_deployment_bar(shop, winner, f"batches of up to {deployment.batch_size}", alone))
    if (deployment.threads, deployment.streams) != (plain.threads, plain.streams):
        spread = replace(deployment, threads=plain.threads, streams=plain.streams)
        bars.append(_deployment_bar(shop, winner, _cores(deployment), spread))
    return tuple(bars)


def _that_cost(bars: tuple[Bar, ...], usd_with: float) -> tuple[str, ...]:
    """Steps without which the winner was measured cheaper: no such build was certified, so that it is not the choice."""
    return tuple(
        f"{bar.step} does not pay here: left out, in one trial, a million requests cost {in_usd(bar.usd_per_million_without)} "
        f"instead of {in_usd(usd_with)}; no such build was certified: where time was short, {MORE_MINUTES}"
        for bar in bars
        if bar.measured and bar.usd_per_million_saved < -LEAST_LOSS * usd_with
    )


def _cores(deployment: Deployment) -> str:
    """How the cores are used, in words."""
    batches = "one batch" if deployment.streams == 1 else f"{deployment.streams} batches"
    return f"{batches} at a time, {deployment.threads} thread{'s' if deployment.threads > 1 else ''} each"


def _build_bar(shop: Workshop, winner: Trial, step: str, build: Build) -> Bar:
    if not shop.feasible(build):
        return _unmeasured(step, f"without it nothing runs: {build} is not possible")
    trial = try_build(shop, build, num_candidates=1)
    if not trial.services:
        assert trial.candidate.rejected is not None
        return _unmeasured(step, f"without it: {trial.candidate.rejected.reason}")
    return _deployment_bar(shop, trial, step, replace(winner.candidate.deployment, build=build), usd(winner.candidate))


def _deployment_bar(shop: Workshop, trial: Trial, step: str, deployment: Deployment, usd_with: float | None = None) -> Bar:
    layout = deployment.threads, deployment.streams
    if layout not in [(s.threads, s.streams) for s in trial.services]:
        trial = shop.store.once("extended", codec.digest((trial.build, layout)), lambda: extend(shop, trial, layout))
    without = _usd(shop, trial, deployment, service_of(trial, deployment))
    if math.isinf(without):
        return _unmeasured(step, "without it the latency ceilings are missed")
    with_it = usd(trial.candidate) if usd_with is None else usd_with
    return Bar(step=step, usd_per_million_without=without, usd_per_million_saved=without - with_it, measured=True)


def _unmeasured(step: str, note: str) -> Bar:
    return Bar(step=step, usd_per_million_without=math.nan, usd_per_million_saved=0.0, measured=False, note=note)


def _without(build: Build, step: MemberRef) -> Build:
    if fallback := plugins.make(Method, step).fallback:  # type: ignore[type-abstract]
        return fallback
    return replace(build, recipe=tuple(other for other in build.recipe if other != step))


def _trial_of(shop: Workshop, decision: Decision, search: Search) -> Trial | None:
    if decision.chosen is None:
        return None
    if decision.verdict == "keep":
        return replace(baseline_trial(shop), candidate=decision.chosen)
    build = decision.chosen.deployment.build
    return replace(next(t for t in search.measured() if t.build == build), candidate=decision.chosen)


def _reckoned(shop: Workshop, decision: Decision, search: Search, winner: Trial | None) -> Decision:
    """What the search cost, when it has paid for itself, and over which rates and price ratios the choice holds."""
    spent_usd = search_usd(shop.store.spent_s, shop.tariff)
    decision = replace(decision, search_s=shop.store.spent_s, search_usd=spent_usd)
    if winner is None:
        return decision
    decision = replace(decision, notes=(*decision.notes, *_not_run_there(winner.build)))
    saved_usd = (usd(decision.baseline) - usd(winner.candidate)) / MILLION
    mine = _usage(shop, winner)
    others = [
        u for t in [baseline_trial(shop), *search.measured()] if t.build != winner.build and (u := _usage(shop, t)) is not None
    ]
    if mine is not None:
        machines = tuple(f"{sku} was left out of the menu: {why}" for sku, why in left_out(mine, shop.tariff))
        decision = replace(decision, notes=(*decision.notes, *machines))
    if mine is None:
        return replace(decision, break_even_requests=break_even(spent_usd, saved_usd))
    return replace(
        decision,
        break_even_requests=break_even(spent_usd, saved_usd),
        cheapest_rates_per_s=cheapest_rates(mine, others, shop.demand, shop.tariff),
        cheapest_price_ratios=cheapest_price_ratios(mine, others, shop.tariff) if shop.job.prices.mode == "share" else None,
    )


def _not_run_there(build: Build) -> tuple[str, ...]:
    """Said where a runtime is chosen for a kind of device on which it had never been run before this farthing was released."""
    if build.device_kind in plugins.load(Runtime, build.runtime.name).run_on:  # type: ignore[type-abstract]
        return ()
    return (f"the runtime {build.runtime.name} had not been run on {build.device_kind} when this farthing was released",)


def _usage(shop: Workshop, trial: Trial) -> Usage | None:
    deployment = replace(trial.candidate.deployment, replicas=1)
    found = screened(shop, trial, deployment, service_of(trial, deployment))
    return None if found is None else shop.usage_of(trial, found.deployment, found.simulated, found.capacity_per_s)


def _summary(decision: Decision) -> str:
    if decision.chosen is None:
        return "Nothing that was tried keeps the floor and the latency ceilings at once."
    before, after = usd(decision.baseline), usd(decision.chosen)
    if decision.verdict == "keep" or decision.saving is None:
        return f"Keep what you have: at {before:.3g} USD per million requests, nothing certified is cheaper."
    return f"{before:.3g} USD per million requests become {after:.3g}, and the quality floor is certified."


def _environment(shop: Workshop) -> dict[str, str]:
    """What a reader needs to judge or repeat the figures: the machine, Python, and every library farthing may have used."""
    facts = {
        "device": shop.device.name,
        "cores": str(shop.num_cores),
        "python": platform.python_version(),
        "os": platform.platform(),
    }
    for requirement in metadata.requires("farthing") or ():
        if "extra == 'dev'" in requirement.replace('"', "'"):
            continue
        name = requirement.partition(";")[0].strip()
        name = name[: next((i for i, c in enumerate(name) if not (c.isalnum() or c in "-_.")), len(name))]
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return facts


def _usd(shop: Workshop, trial: Trial, deployment: Deployment, service: ServiceModel) -> float:
    found = screened(shop, trial, deployment, service)
    return math.inf if found is None else found.cost.usd_per_million
