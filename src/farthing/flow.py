"""READ FIRST: optimize(), the whole loop on one screen."""

from pathlib import Path

from farthing import closing, finals
from farthing.confirmation import confirm
from farthing.drawing import draw
from farthing.reporting import report
from farthing.results import Decision
from farthing.selection import choose, propose
from farthing.store import Store
from farthing.trial import baseline_trial, try_build, usd
from farthing.types import Job, Progress
from farthing.workshop import Workshop


def silent(event: str, facts: object) -> None:
    """Progress for nobody."""


def optimize(job: Job, *, out: Path, resume: bool = False, progress: Progress = silent) -> Decision:
    """Find the cheapest deployment of the job's model that keeps its floor and its SLO; prove it, pack it, report it.

    Everything that takes time is recorded in `out` when it is done: killed at any moment, the same call with `resume` goes
    on without repeating it. Raises FarthingError. A verdict of "nothing" is an answer, not an error.
    """
    with Store.open(out, digest=job.digest, resume=resume) as store, Workshop(job, store, progress) as shop:
        shop.stage("diagnose")  # where the money goes
        baseline = baseline_trial(shop)
        search = propose(job, shop.profile, shop.feasible, usd(baseline.candidate))

        shop.stage("search")
        while (proposal := search.ask()) is not None and shop.goes_on(proposal.build, search.measured()):
            trial = try_build(shop, proposal.build, num_candidates=len(search.proposals))  # transform, race, time, price
            search.tell(proposal, trial)
            shop.tried(trial, search.best_usd())

        shop.stage("certify")  # at most three, named before `verify` is opened
        named = finals.finalists(shop, search.measured())
        certificates = finals.certify(shop, named)

        shop.stage("drive")  # under real load, and the baseline like them
        kept, driven = finals.drive(shop, baseline, named, certificates)

        shop.stage("confirm")  # what passed timed again, side by side; each of the winner's steps left out in turn
        decision = choose(job, shop.profile, kept, confirm(shop, named, driven), search)
        decision = closing.pack(shop, closing.complete(shop, decision, search))
        page = report(decision, draw(decision), out)
        progress("done", {"report": str(page), "artifact": str(out / decision.artifact) if decision.artifact else "none"})
        return decision
