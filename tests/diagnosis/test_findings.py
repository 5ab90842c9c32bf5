"""Each cause, injected into made-up measures and removed from them again."""

from dataclasses import replace

import numpy as np
import pytest

from farthing.diagnosis.findings import LEAST_SAVING, Measures, findings, padded_lengths, skipped
from farthing.diagnosis.sensitivity import Sensitivities
from farthing.results import Device, Finding, Op

DEVICE = Device(
    name="a machine",
    kind="cpu",
    num_cores=2,
    memory_bytes=8e9,
    flops_per_s={"float32": 1e11, "bfloat16": 4e11, "int8": 8e11},
    bytes_per_s=1e10,
)


def op(kind: str, bound: str, seconds: float, fraction: float = 0.5, flops: float = 0.0) -> Op:
    return Op(name=kind, kind=kind, seconds=seconds, flops=flops, bytes=1e6, bound=bound, roofline_fraction=fraction)  # type: ignore[arg-type]


def measures(*ops: Op, **changes: object) -> Measures:
    """A batch of 8 equal requests whose operators add up to the batch; nothing is wrong with it but `changes`."""
    batch_s = sum(o.seconds for o in ops) or 1.0
    facts: dict[str, object] = {
        "ops": ops,
        "device": DEVICE,
        "batch_size": 8,
        "threads": 1,
        "batch_s": batch_s,
        "host_s": 0.0,
        "lengths": np.full(64, 20),
        "batch_s_by_threads": {1: batch_s, 2: batch_s},
    }
    return Measures(**(facts | changes))  # type: ignore[arg-type]


HEALTHY = op("linear", "compute", 1.0, fraction=1.0, flops=1e11)


def found(m: Measures, cause: str) -> Finding | None:
    return next((f for f in findings(m) if f.cause == cause), None)


def reason(m: Measures, family: str) -> str | None:
    return dict(skipped(m)).get(family)


def test_compute_is_bounded_by_the_fastest_peak() -> None:
    finding = found(measures(op("linear", "compute", 0.8), op("norm", "memory", 0.2)), "compute")
    assert finding is not None
    assert finding.share == pytest.approx(0.8)
    assert finding.max_saving == pytest.approx(0.8 - 0.8 * 0.5 / 8)  # half of the roof, int8 peaks at 8 x
    assert "80% of the time" in finding.evidence and "50% of the peak" in finding.evidence and "8.0x" in finding.evidence


def test_compute_vanishes_with_the_products() -> None:
    without = measures(op("norm", "memory", 1.0))
    assert found(without, "compute") is None
    assert reason(without, "low precision and faster kernels") is not None


def test_compute_of_weights_that_are_already_quantized_may_only_reach_its_own_peak() -> None:
    finding = found(measures(op("linear", "compute", 1.0), float_weights=False), "compute")
    assert finding is not None
    assert finding.max_saving == pytest.approx(0.5)


def test_memory_is_bounded_by_fusion_and_narrow_data() -> None:
    finding = found(measures(op("elementwise", "memory", 0.5), op("linear", "memory", 0.5)), "memory")
    assert finding is not None
    assert finding.max_saving == pytest.approx(0.5 + 0.5 - 0.5 * 0.5 / 4)
    assert "1.9 MiB" in finding.evidence


def test_memory_vanishes_with_the_traffic() -> None:
    assert found(measures(HEALTHY), "memory") is None
    assert reason(measures(HEALTHY), "fusion and narrower data") is not None


def test_overhead_is_what_the_ceilings_do_not_ask_for() -> None:
    tiny = op("elementwise", "overhead", 0.4, fraction=0.1)
    finding = found(measures(tiny, op("dispatch", "overhead", 0.4, fraction=0.0), op("linear", "compute", 0.2)), "overhead")
    assert finding is not None
    assert finding.share == pytest.approx(0.8)
    assert finding.max_saving == pytest.approx(0.8 - 0.04)
    assert "400.00 ms of a batch pass between operators" in finding.evidence


def test_overhead_vanishes_with_one_large_operator() -> None:
    assert found(measures(HEALTHY), "overhead") is None
    assert reason(measures(HEALTHY), "cutting the overhead of calls") is not None


UNLIKE = np.tile([10, 100], 32)


def test_padding_is_the_work_on_no_token() -> None:
    finding = found(measures(HEALTHY, lengths=UNLIKE), "padding")
    assert finding is not None
    assert finding.max_saving == pytest.approx(1 - 55 / 100)
    assert "45% of the work" in finding.evidence and "0% sorted" in finding.evidence


def test_padding_costs_attention_more_than_its_tokens() -> None:
    attention = measures(op("attention", "compute", 1.0, flops=1e11), lengths=UNLIKE)
    finding = found(attention, "padding")
    assert finding is not None
    assert finding.max_saving == pytest.approx(1 - (10**2 + 100**2) / (2 * 100**2))


def test_padding_is_no_larger_a_share_than_the_model() -> None:
    finding = found(measures(HEALTHY, lengths=UNLIKE, host_s=0.125), "padding")
    assert finding is not None
    assert finding.max_saving == pytest.approx(0.5 * 0.45)


def test_padding_vanishes_with_equal_lengths() -> None:
    assert found(measures(HEALTHY), "padding") is None
    assert "all requests have one length, 20" in (reason(measures(HEALTHY), "length bucketing") or "")


def test_padding_that_small_batches_avoid_is_neither_found_nor_skipped() -> None:
    single = measures(HEALTHY, lengths=UNLIKE, batch_size=1)
    assert found(single, "padding") is None
    assert reason(single, "length bucketing") is None


def test_a_last_batch_that_is_not_full_counts_its_own_rows() -> None:
    assert padded_lengths(np.array([3, 1, 5, 2, 4]), 2).tolist() == [3, 5, 4]
    finding = found(measures(HEALTHY, lengths=np.array([1, 1, 1, 9]), batch_size=3), "padding")
    assert finding is None  # [1, 1, 1] and [9]: nothing is padded


def test_host_share_is_per_request() -> None:
    finding = found(measures(HEALTHY, host_s=0.125), "host")  # 8 x 0.125 s beside a batch of 1 s
    assert finding is not None
    assert finding.share == finding.max_saving == pytest.approx(0.5)
    assert "125.000 ms of 250.000 ms per request" in finding.evidence


def test_host_vanishes_with_a_fast_tokenizer() -> None:
    fast = measures(HEALTHY, host_s=1e-6)
    assert found(fast, "host") is None
    assert "0.001 ms" in (reason(fast, "faster tokenizing") or "")


def test_more_threads_than_cores_is_oversubscription() -> None:
    finding = found(measures(HEALTHY, threads=8, batch_s_by_threads={1: 1.0, 2: 0.6, 8: 5.0}), "oversubscription")
    assert finding is not None
    assert finding.max_saving == pytest.approx(1 - 1.0 / (2 * 5.0))  # two streams of one thread use both cores
    assert "threads=8 on 2 cores" in finding.evidence and "threads=1" in finding.evidence


def test_threads_that_scale_are_not_oversubscribed() -> None:
    scaling = measures(HEALTHY, threads=2, batch_s_by_threads={1: 1.0, 2: 0.5})
    assert found(scaling, "oversubscription") is None
    assert reason(scaling, "fewer threads per stream") is not None


LAYERS = tuple((f"layer{i}", 0.01) for i in range(5))


def test_one_layer_that_errs_most_is_sensitivity() -> None:
    layers = Sensitivities(errors=(("head", 0.5), *LAYERS), num_untried=2)
    finding = found(measures(HEALTHY, layers=layers), "sensitivity")
    assert finding is not None
    assert finding.max_saving == pytest.approx(1 - 1 / 8)
    assert finding.evidence == "1 of 6 layers (2 smaller ones untried) carry half of int8's squared error: head 0.5"


def test_layers_that_err_alike_leave_nothing_to_mix() -> None:
    alike = measures(HEALTHY, layers=Sensitivities(errors=LAYERS))
    assert found(alike, "sensitivity") is None
    assert "3 of 5 layers" in (reason(alike, "mixed precision") or "")


def test_a_precision_without_a_faster_peak_is_skipped_with_both_peaks() -> None:
    slow = replace(DEVICE, flops_per_s={"float32": 1e11, "bfloat16": 1.01e11, "int8": 8e11})
    m = measures(HEALTHY, device=slow)
    assert "bfloat16 peak is 1x its float32 peak; arithmetic binds" in (reason(m, "bf16") or "")
    assert reason(m, "int8") is None
    assert reason(measures(HEALTHY), "bf16") is None


def test_a_precision_that_was_not_measured_is_not_skipped() -> None:
    unknown = replace(DEVICE, flops_per_s={"float32": 1e11})
    assert reason(measures(HEALTHY, device=unknown), "bf16") is None


def test_a_precision_is_judged_by_the_time_beside_launches() -> None:
    """Another runtime may take the launches away, and then products are what is left."""
    m = measures(op("linear", "compute", 0.02), op("elementwise", "overhead", 0.98))
    assert reason(m, "bf16") is None


def test_a_slow_precision_may_still_pay_where_memory_binds() -> None:
    slow = replace(DEVICE, flops_per_s={"float32": 1e11, "bfloat16": 1e11})
    assert reason(measures(op("linear", "memory", 1.0), device=slow), "bf16") is None


def test_quantized_weights_skip_every_precision() -> None:
    assert reason(measures(HEALTHY, float_weights=False), "int8") == "the original's weights are not float32"


def test_a_form_without_operators_is_judged_by_what_surrounds_it() -> None:
    m = measures(host_s=1.0)
    assert {f.cause for f in findings(m)} == {"host"}
    assert not {"low precision and faster kernels", "cutting the overhead of calls", "bf16"} & dict(skipped(m)).keys()


def test_shares_add_up_and_bounds_stay_within_them() -> None:
    m = measures(op("linear", "compute", 0.5), op("norm", "memory", 0.3), op("add", "overhead", 0.2), host_s=0.1)
    shares = {f.cause: f.share for f in findings(m)}
    assert sum(shares[cause] for cause in ("compute", "memory", "overhead", "host")) == pytest.approx(1.0)
    assert all(LEAST_SAVING <= f.max_saving <= f.share for f in findings(m))
    assert [f.max_saving for f in findings(m)] == sorted((f.max_saving for f in findings(m)), reverse=True)
