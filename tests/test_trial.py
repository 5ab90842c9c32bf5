"""What a trial tells the search beside its cost."""

from dataclasses import replace

import pytest

from farthing import spec
from farthing.flow import silent
from farthing.selection import propose
from farthing.store import Store
from farthing.trial import baseline_trial, try_build, usd
from farthing.workshop import Workshop

from . import small_job


@pytest.mark.parametrize(("max_drop", "convincing"), [(0.05, True), (0.001, False)])
def test_a_trial_says_whether_the_search_split_bears_its_floor_out(tmp_path, max_drop, convincing):
    """Without that word no trial ends the search: it would go on until the budget does."""
    job = spec.read(small_job.write(tmp_path, max_drop=max_drop))
    with Store.open(tmp_path / "run", digest=job.digest, resume=False) as store, Workshop(job, store, silent) as shop:
        search = propose(job, shop.profile, shop.feasible, usd(baseline_trial(shop).candidate))
        proposal = next(p for p in search.proposals if p.build.runtime.name == "onnxruntime" and not p.build.recipe)
        trial = try_build(shop, proposal.build, num_candidates=len(search.proposals))
        assert trial.candidate.rejected is None
        assert trial.convincing is convincing
        search.tell(proposal, trial)
        assert (search.best_usd(convincing=True) < float("inf")) is convincing


def test_a_trial_on_a_machine_that_held_the_original_up_is_turned_down(tmp_path):
    """Else it would seem as many times cheaper than it is, and end the search."""
    job = spec.read(small_job.write(tmp_path))
    with Store.open(tmp_path / "run", digest=job.digest, resume=False) as store, Workshop(job, store, silent) as shop:
        search = propose(job, shop.profile, shop.feasible, usd(baseline_trial(shop).candidate))
        build = next(p.build for p in search.proposals if p.build.runtime.name == "onnxruntime" and not p.build.recipe)
        honest = shop.time

        def crowded(*given):
            times = honest(*given)
            return replace(times, baseline_seconds=tuple((80 * s,) for (s,) in times.baseline_seconds))

        shop.time = crowded
        rejected = try_build(shop, build, num_candidates=1).candidate.rejected
        assert rejected.stage == "time" and "the machine was too busy" in rejected.reason
