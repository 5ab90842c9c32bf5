"""What all trials share: the demand that they are priced for, the device that they run on."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from farthing.closing import _not_run_there, _that_cost
from farthing.errors import JobError
from farthing.results import Bar
from farthing.selection import space
from farthing.store import Store
from farthing.testing.profiles import encoder_profile
from farthing.types import Build, MemberRef, Prices, Traffic
from farthing.units import SECONDS_PER_MONTH
from farthing.workshop import Workshop


def demand(prices: Prices, **traffic: object) -> float | None:
    job = SimpleNamespace(traffic=Traffic(scenario="single_stream", **traffic), prices=prices)
    return Workshop.demand.func(SimpleNamespace(job=job, reference_s=0.01)).requests_per_month


def test_the_months_of_a_single_stream_hold_the_same_requests_for_all() -> None:
    assert demand(Prices(usd_per_hour=0.1)) == pytest.approx(100 * SECONDS_PER_MONTH)
    assert demand(Prices(usd_per_hour=0.1), requests_per_month=5e6) == 5e6
    assert demand(Prices(usd_per_hour=0.1, mode="whole_machines")) is None  # a machine is paid all month, busy or idle


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    job = SimpleNamespace(device="cuda", budget=SimpleNamespace(max_rss_gib=None, trial_timeout_s=300.0))
    store = Store.open(tmp_path / "run", digest="digest", resume=False)
    with store, Workshop(job, store, lambda *_: None) as shop, pytest.raises(JobError, match=r"device = 'cuda': .* no CUDA"):
        assert shop.device


def test_runtimes_that_do_not_run_on_the_device_are_not_tried_and_said() -> None:
    profile = encoder_profile()
    gpu = replace(profile, device=replace(profile.device, kind="cuda"))
    job = SimpleNamespace(methods=(), runtimes=None)
    proposals, skipped = space.builds(job, gpu, lambda build: True)
    tried = {proposal.build.runtime.name for proposal in proposals}
    assert {"torch_eager", "torch_compile"} <= tried and "openvino" not in tried
    assert ("openvino", "it does not run on cuda") in skipped
    assert all(proposal.build.device_kind == "cuda" for proposal in proposals)


def test_a_runtime_that_was_never_run_on_a_device_says_so() -> None:
    build = Build(recipe=(), runtime=MemberRef(name="onnxruntime"))
    assert _not_run_there(build) == ()
    (note,) = _not_run_there(replace(build, device_kind="cuda"))
    assert note.startswith("the runtime onnxruntime had not been run on cuda")


def test_a_step_that_costs_more_than_it_saves_is_told() -> None:
    bars = [
        Bar(step=step, usd_per_million_without=1.0 + saved, usd_per_million_saved=saved, measured=True)
        for step, saved in (("int8", 0.5), ("noise", -0.09), ("bf16", -0.12))
    ]
    (note,) = _that_cost(
        (*bars, Bar(step="openvino", usd_per_million_without=0.0, usd_per_million_saved=0.0, measured=False)), 1.0
    )
    assert note.startswith(
        "bf16 does not pay here: left out, in one trial, a million requests cost $0.880 instead of $1.00; no such build was"
    )
