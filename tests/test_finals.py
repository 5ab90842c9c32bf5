"""After the search: who is driven, and once more in a safer deployment where a ceiling was missed under load."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from farthing import codec, finals
from farthing.results import Candidate, Certificate, Cost, Measurement, Rejected, Trial
from farthing.selection.screen import SAFE_SHARE
from farthing.types import Budget, Build, Dataset, Deployment, Job, MemberRef, Prices, Slo, Splits, Traffic

ORIGINAL = Build(recipe=(), runtime=MemberRef(name="native"))
PASS = Certificate(
    metric="accuracy", verdict="PASS", original=0.9, candidate=0.9, drop=0.0, upper_bound=0.004, max_drop=0.01, alpha=0.05,
    num_items=500, protocol="exact", certifiable_drop=0.004, items_missing=0,
)  # fmt: skip
FAIL = replace(PASS, verdict="FAIL", upper_bound=0.05)


def trial(name: str, usd: float, build: Build | None = None) -> Trial:
    build = build or Build(recipe=(MemberRef(name=name),), runtime=MemberRef(name="fast"))
    cost = Cost(lines=(), usd_per_million=usd, usd_per_month=usd)
    return Trial(build=build, candidate=Candidate(deployment=Deployment(build=build, batch_size=8), cost=cost))


def p99(seconds: float) -> Measurement:
    return Measurement(name="latency_p99_s", value=seconds, unit="s", low=seconds, high=seconds, num_samples=300, protocol="")


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> list[Deployment]:
    """What was put under load, in order: a batch of 8 takes 0.08 s, any other 0.03 s; the ceiling is 0.05 s."""
    seen: list[Deployment] = []

    def load(shop: object, tried: Trial) -> Candidate:
        deployment = tried.candidate.deployment
        seen.append(deployment)
        seconds = 0.08 if deployment.batch_size == 8 else 0.03
        rejected = Rejected(stage="slo", reason="slow") if seconds > 0.05 else None
        return replace(tried.candidate, figures=(p99(seconds),), rejected=tried.candidate.rejected or rejected)

    monkeypatch.setattr(finals, "_driven", load)
    return seen


@pytest.fixture
def shop() -> SimpleNamespace:
    empty = Dataset(columns=())
    job = Job(
        name="job", model=MemberRef(name="live"), splits=Splits(train=empty, calibrate=empty, search=empty, verify=empty),
        floors=(), traffic=Traffic(scenario="server", rate_per_s=10.0), slo=Slo(latency_p99_s=0.05), prices=Prices(),
        budget=Budget(), seed=0, digest="",
    )  # fmt: skip
    return SimpleNamespace(job=job, lengths=None, price_of=lambda trial: None)


def safer(monkeypatch: pytest.MonkeyPatch, found: Deployment) -> list[float]:
    """`best_deployment` answers `found`; what it was asked to hold is noted."""
    ceilings: list[float] = []

    def best(build: Build, services: object, job: Job, lengths: object, price_of: object) -> SimpleNamespace:
        assert job.slo.latency_p99_s is not None
        ceilings.append(job.slo.latency_p99_s)
        return SimpleNamespace(deployment=found, cost=Cost(lines=(), usd_per_million=3.0, usd_per_month=3.0))

    monkeypatch.setattr(finals, "best_deployment", best)
    return ceilings


def given(*trials: Trial, verdict: Certificate = PASS) -> dict[str, tuple[Certificate, ...]]:
    return {codec.digest(ORIGINAL): ()} | {codec.digest(t.build): (verdict,) for t in trials}


def test_a_missed_ceiling_is_tried_once_more_as_much_safer(monkeypatch, shop, driven) -> None:
    tried = trial("a", 2.0)
    smaller = replace(tried.candidate.deployment, batch_size=4)
    ceilings = safer(monkeypatch, smaller)
    _, (final,) = finals.drive(shop, trial("", 10.0, ORIGINAL), [tried], given(tried))
    assert ceilings == [pytest.approx(0.05 * SAFE_SHARE * 0.05 / 0.08)]
    assert final.rejected is None
    assert (final.deployment, final.cost.usd_per_million) == (smaller, 3.0)
    assert driven[1:] == [tried.candidate.deployment, smaller]


def test_where_nothing_is_safer_the_missed_ceiling_stands(monkeypatch, shop, driven) -> None:
    tried = trial("a", 2.0)
    safer(monkeypatch, tried.candidate.deployment)
    _, (final,) = finals.drive(shop, trial("", 10.0, ORIGINAL), [tried], given(tried))
    assert final.rejected is not None and final.rejected.stage == "slo"
    assert len(driven) == 2


def test_what_is_not_certified_is_never_driven(shop, driven) -> None:
    tried = trial("a", 2.0)
    _, (final,) = finals.drive(shop, trial("", 10.0, ORIGINAL), [tried], given(tried, verdict=FAIL))
    assert final.rejected is not None and "FAIL on accuracy: the drop may be 0.05, allowed is 0.01" in final.rejected.reason
    assert len(driven) == 1  # the baseline alone


def test_the_original_deployed_otherwise_stands_by(monkeypatch, shop, driven) -> None:
    stand_by = trial("", 5.0, ORIGINAL)
    stand_by = replace(stand_by, candidate=replace(stand_by.candidate, deployment=Deployment(build=ORIGINAL, batch_size=4)))
    good, bad = trial("a", 2.0), trial("b", 2.0)
    good = replace(good, candidate=replace(good.candidate, deployment=Deployment(build=good.build, batch_size=2)))
    baseline = trial("", 10.0, ORIGINAL)
    _, passed = finals.drive(shop, baseline, [good, stand_by], given(good))
    assert [c.deployment for c in passed] == [good.candidate.deployment]
    _, passed = finals.drive(shop, baseline, [bad, stand_by], given(bad, verdict=FAIL))
    assert [c.rejected is None for c in passed] == [False, True]
    assert passed[1].deployment.build == ORIGINAL
