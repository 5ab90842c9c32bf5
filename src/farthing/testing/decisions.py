"""Made-up decisions of every verdict, for tests of what shows or reads one. Their figures are plausible, not measured."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from farthing.results import Bar, Candidate, Certificate, Cost, CostLine, Decision, Measurement, Prediction, Rejected
from farthing.testing.profiles import encoder_profile
from farthing.types import Build, Deployment, Floor, MemberRef, Slo, Traffic
from farthing.units import MILLION, SECONDS_PER_MONTH

RATE_PER_S = 50.0
MAX_DROP = 0.005
NUM_ITEMS = 1379


def saves() -> Decision:
    """A sentence encoder whose bill falls to a fifth; two finalists beside the choice, one of them not certified."""
    base, best = _baseline(), _openvino_bf16()
    others = (_openvino_int8(), _onnx_int8(), *_screened())
    return Decision(
        job_name="minilm-sts",
        job_digest="3f1c0a9e5b7d",
        verdict="saves",
        summary="Run bf16 on openvino in batches of 8: 0.0314 instead of 0.158 USD per million requests, 80% less.",
        baseline=base,
        chosen=best,
        saving=Measurement(
            name="cost_ratio",
            value=0.199,
            unit="",
            low=0.191,
            high=0.208,
            num_samples=15,
            protocol="paired rounds, median ratio",
        ),
        candidates=(best, *others, base),
        front=(best, others[2], base),
        rejected=_rejected(),
        waterfall=_waterfall(),
        interaction_usd_per_million=0.0391,
        break_even_requests=98_000.0,
        search_usd=0.0124,
        search_s=1062.0,
        cheapest_rates_per_s=(3.1, math.inf),
        cheapest_price_ratios=(0.0, 1.9),
        profile=encoder_profile(),
        num_items={"train": 0, "calibrate": 256, "search": 5749, "verify": NUM_ITEMS},
        environment={
            "cpu": "Xeon with AMX, 2 cores",
            "memory": "24 GiB",
            "python": "3.11.9",
            "torch": "2.13.0",
            "openvino": "2026.4",
        },
        artifact="artifact",
        floors=(Floor(metric="spearman", max_drop=MAX_DROP),),
        traffic=Traffic(scenario="server", rate_per_s=RATE_PER_S),
        slo=Slo(latency_p99_s=0.050),
        seed=0,
        notes=("Requests a month were not given: the rate times 730 hours was taken.",),
    )


def slices() -> Decision:
    """Like `saves`, under two floors, one of them in each language too: the choice keeps all, by unlike margins."""
    source = saves()
    assert source.chosen is not None
    spearman = _certificate(0.00001, 0.00005)
    by_language = tuple(
        replace(spearman, slice=language, drop=drop, upper_bound=bound, max_drop=0.01, num_items=number)
        for language, drop, bound, number in (
            ("de", 0.0011, 0.0058, 210),
            ("en", -0.0002, 0.0009, 940),
            ("fr", 0.0021, 0.0097, 229),
        )
    )
    reaches = replace(
        spearman, metric="accuracy", original=0.912, candidate=0.911, drop=-0.011, upper_bound=-0.002, max_drop=0.0, minimum=0.9
    )
    chosen = replace(source.chosen, certificates=(spearman, reaches, *by_language))
    floors = (*source.floors, Floor(metric="accuracy", minimum=0.9))
    floors = (replace(floors[0], slices="language", slice_max_drop=0.01), floors[1])
    candidates = tuple(chosen if c == source.chosen else c for c in source.candidates)
    return replace(source, chosen=chosen, candidates=candidates, front=(chosen, *source.front[1:]), floors=floors)


def keep() -> Decision:
    """Nothing that was certified is cheaper: the original stays."""
    base, source = _baseline(), saves()
    near = replace(_openvino_int8(), certificates=(_certificate(0.0041, 0.0078, missing=1900),))
    return replace(
        source,
        verdict="keep",
        summary="Keep what you have: nothing cheaper is certain to keep the Spearman correlation within 0.005.",
        chosen=base,
        saving=None,
        candidates=(near, base),
        front=(base,),
        waterfall=(),
        interaction_usd_per_million=0.0,
        break_even_requests=None,
        cheapest_rates_per_s=None,
        cheapest_price_ratios=None,
        relax=("spearman: a drop of 0.0078 instead of 0.005 would let int8_static on openvino through and save 79%",),
        artifact=None,
    )


def nothing() -> Decision:
    """Neither the original nor anything else answers in time and well enough."""
    return replace(
        keep(),
        verdict="nothing",
        summary="No deployment on this machine keeps both the floor and a p99 latency of 4 ms.",
        chosen=None,
        slo=Slo(latency_p99_s=0.004),
        relax=("latency_p99_s: 0.0093 instead of 0.004 would be met by bf16 on openvino", "or a drop of 0.0078 in spearman"),
    )


def _deployment(runtime: str, *recipe: str, **settings: Any) -> Deployment:
    build = Build(recipe=tuple(MemberRef(name=step) for step in recipe), runtime=MemberRef(name=runtime))
    return Deployment(build=build, **({"threads": 2} | settings))


def _candidate(deployment: Deployment, usd_per_million: float, p50_s: float, p99_s: float, **facts: Any) -> Candidate:
    figures = (
        _measured("latency_p50_s", p50_s, "s"),
        _measured("latency_p99_s", p99_s, "s"),
        _measured("throughput_per_s", 39.6 / usd_per_million, "1/s"),
        _measured("peak_bytes", 3.1e8 * (1 + usd_per_million), "byte"),
        *facts.pop("figures", ()),
    )
    guess = Prediction(name="latency_p99_s", value=1.1 * p99_s, unit="s", model="queue simulation", relative_error=0.1)
    return Candidate(deployment=deployment, cost=_cost(usd_per_million), figures=figures, predictions=(guess,), **facts)


def _measured(name: str, value: float, unit: str) -> Measurement:
    return Measurement(
        name=name,
        value=value,
        unit=unit,
        low=0.96 * value,
        high=1.05 * value,
        num_samples=1500,
        protocol="open-loop Poisson load",
    )


def _cost(usd_per_million: float, *, predicted: bool = False) -> Cost:
    vcpu, memory = 0.92 * usd_per_million, 0.08 * usd_per_million
    source = {"source": "on-demand list price, us-east-1", "observed_at": "2026-11-02"}
    lines = (
        CostLine(sku="vCPU", unit="vCPU-hour", quantity=vcpu / 0.0433, usd_per_unit=0.0433, usd=vcpu, **source),
        CostLine(sku="memory", unit="GiB-hour", quantity=memory / 0.0058, usd_per_unit=0.0058, usd=memory, **source),
    )
    joules = 4.1e5 * usd_per_million
    return Cost(
        lines=lines,
        usd_per_million=usd_per_million,
        usd_per_month=usd_per_million * RATE_PER_S * SECONDS_PER_MONTH / MILLION,
        joules_per_million=joules,
        grams_co2e_per_million=joules / 3.6e6 * 445,
        energy_source="modelled: watts per busy core, no meter in this machine",
        predicted=predicted,
        machine="this machine",
        num_machines=0.4,
    )


def _certificate(drop: float, bound: float, *, missing: int = 0) -> Certificate:
    return Certificate(
        metric="spearman",
        verdict="PASS" if bound < MAX_DROP else "INCONCLUSIVE",
        original=0.8203,
        candidate=0.8203 - drop,
        drop=drop,
        upper_bound=bound,
        max_drop=MAX_DROP,
        alpha=0.05 / 3,
        num_items=NUM_ITEMS,
        protocol="BCa bootstrap of the paired statistic, 9,999 resamples",
        certifiable_drop=0.0009,
        items_missing=missing,
    )


def _latencies(median_s: float, spread: float) -> tuple[float, ...]:
    return tuple(sorted((median_s * np.random.default_rng(7).lognormal(0.0, spread, 1500)).tolist()))


def _baseline() -> Candidate:
    deployment = _deployment("torch_eager")
    return _candidate(deployment, 0.158, 0.0128, 0.0457, latencies_s=_latencies(0.0128, 0.55))


def _openvino_bf16() -> Candidate:
    deployment = _deployment(
        "openvino", "bf16", "torch_to_onnx", "onnx_to_openvino", batch_size=8, batch_delay_s=0.002, bucketing=True
    )
    certificates = (_certificate(0.00001, 0.00005),)
    return _candidate(deployment, 0.0314, 0.0041, 0.0093, certificates=certificates, latencies_s=_latencies(0.0041, 0.35))


def _openvino_int8() -> Candidate:
    deployment = _deployment("openvino", "torch_to_onnx", "onnx_to_openvino", "int8_static", batch_size=8, batch_delay_s=0.002)
    certificates = (_certificate(0.0020, 0.0030),)
    return _candidate(deployment, 0.0331, 0.0039, 0.0088, certificates=certificates, latencies_s=_latencies(0.0039, 0.34))


def _onnx_int8() -> Candidate:
    deployment = _deployment("onnxruntime", "torch_to_onnx", "int8_dynamic", batch_size=4)
    certificates = (_certificate(0.0024, 0.0057, missing=640),)
    facts = {"certificates": certificates, "latencies_s": _latencies(0.0058, 0.4)}
    return _candidate(deployment, 0.0523, 0.0058, 0.0151, **facts)


def _screened() -> tuple[Candidate, ...]:
    """Measured on the search split and simulated, never driven: their latency is predicted; one is priced so too."""
    found = []
    for runtime, recipe, usd_per_million, p99_s, lost in (
        ("openvino", ("bf16",), 0.0467, 0.0052, 0.00001),
        ("torch_compile", ("bf16",), 0.0545, 0.0117, 0.0006),
        ("aoti", ("bf16",), 0.0601, 0.0126, 0.0006),
        ("openvino", (), 0.121, 0.0312, 0.0),
        ("onnxruntime", ("torch_to_onnx",), 0.133, 0.0334, 0.0),
        ("onnxruntime", ("torch_to_onnx", "int8_static"), 0.0702, 0.0203, 0.112),
    ):
        guess = Prediction(name="latency_p99_s", value=p99_s, unit="s", model="queue simulation", relative_error=0.12)
        quality = _measured("drop", lost, "")
        found.append(
            Candidate(
                deployment=_deployment(runtime, *recipe),
                cost=_cost(usd_per_million, predicted=runtime == "aoti"),
                figures=(quality,),
                predictions=(guess,),
            )
        )
    return tuple(found)


def _rejected() -> tuple[Candidate, ...]:
    turned_down = (
        ("onnxruntime", ("int8_static",), "race", "spearman fell by 0.112 (at least 0.094) after 384 items; 0.005 is allowed"),
        (
            "openvino",
            ("int8_static", "bf16"),
            "check",
            "step 2 (bf16) needs float_weights, which step 1 removed. Drop that step.",
        ),
        ("torch_compile", ("int8_dynamic",), "transform", "encoder.layer.0.attention: no quantized kernel for this layout"),
        ("onnxruntime", ("bf16",), "open", "no bfloat16 kernel of LayerNormalization on the CPU provider"),
        ("aoti", ("int8_dynamic",), "budget", "34 s to compile, 12 s of the budget were left"),
        ("openvino", ("smooth_quant", "int8_static"), "output", "NaN in 3 of 64 answers"),
        ("torch_eager", ("int8_dynamic",), "cost", "$0.171 per million; the original costs $0.158"),
        ("onnxruntime", ("int8_dynamic",), "slo", "p99 61.2 ms with batch 64; 50 ms is allowed"),
    )
    return tuple(
        Candidate(deployment=_deployment(runtime, *recipe, batch_size=64), rejected=Rejected(stage=stage, reason=reason))
        for runtime, recipe, stage, reason in turned_down
    )


def _waterfall() -> tuple[Bar, ...]:
    def bar(step: str, saved: float) -> Bar:
        return Bar(step=step, usd_per_million_without=0.0314 + saved, usd_per_million_saved=saved, measured=True)

    unmeasured = Bar(
        step="onnx_to_openvino",
        usd_per_million_without=math.nan,
        usd_per_million_saved=0.0,
        measured=False,
        note="without it nothing runs: OpenVINO cannot open the form that is left",
    )
    return (bar("bf16", 0.0576), bar("openvino", 0.0144), bar("batch 8", 0.0098), bar("bucketing", 0.0057), unmeasured)
