"""Trials and proposals made up for tests of the search and the choice."""

from farthing.results import Candidate, Certificate, Cost, Measurement, Rejected, Trial
from farthing.selection.space import Proposal
from farthing.types import Build, Deployment, MemberRef


def build(runtime="fast", *methods):
    return Build(recipe=tuple(MemberRef(name=m) for m in methods), runtime=MemberRef(name=runtime))


def proposal(speedup, runtime="fast", *methods, **facts):
    return Proposal(build=build(runtime, *methods), predicted_speedup=speedup, **facts)


def cost(usd):
    return Cost(lines=(), usd_per_million=usd, usd_per_month=usd)


def certificate(upper, *, max_drop=0.01, verdict="PASS", missing=0):
    return Certificate(
        metric="accuracy", verdict=verdict, original=0.9, candidate=0.9, drop=0.0, upper_bound=upper, max_drop=max_drop,
        alpha=0.05, num_items=500, protocol="", certifiable_drop=0.005, items_missing=missing,
    )  # fmt: skip


def figure(name, value):
    return Measurement(name=name, value=value, unit="", low=value, high=value, num_samples=1, protocol="")


def candidate(usd, what=None, *, drop=0.0, p99=0.01, certificates=(), rejected=None):
    return Candidate(
        deployment=Deployment(build=what or build()),
        cost=cost(usd),
        figures=(figure("drop", drop), figure("latency_p99_s", p99)),
        certificates=tuple(certificates),
        rejected=rejected,
    )


def trial(usd, what, *, convincing=True, rejected=None):
    out = None if rejected is None else Rejected(stage=rejected, reason="for the test")
    return Trial(build=what, candidate=candidate(usd, what, rejected=out), convincing=convincing)
