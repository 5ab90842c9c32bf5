"""A made-up profile of a sentence encoder, for tests of what reads one. Its figures are plausible, not measured."""

from typing import Literal

import numpy as np

from farthing.results import Device, Finding, Op, Profile


def encoder_profile() -> Profile:
    """Six layers that are mostly compute bound in float32, on a machine whose bfloat16 peak is seven times higher."""
    findings = (
        Finding(cause="compute", share=0.71, evidence="linear layers reach 62% of the float32 peak", max_saving=0.62),
        Finding(cause="padding", share=0.18, evidence="46.5 tokens on average, batches padded to 61.0", max_saving=0.18),
        Finding(cause="host", share=0.04, evidence="tokenizing takes 0.16 ms of 4.1 ms", max_saving=0.04),
    )
    return Profile(
        ops=tuple(op for layer in range(6) for op in _layer(layer)),
        findings=findings,
        device=_device(),
        host_s=1.6e-4,
        model_s=3.9e-3,
        lengths=np.random.default_rng(3).integers(8, 128, 400),
        sensitivities=(("encoder.layer.5.output.dense", 0.083), ("encoder.layer.0.attention.self.query", 0.021)),
        skipped=(("pruning", "needs labels to repair what it breaks"),),
    )


def _device() -> Device:
    return Device(
        name="Xeon with AMX",
        kind="cpu",
        num_cores=2,
        memory_bytes=24 * 2.0**30,
        flops_per_s={"float32": 3.24e11, "bfloat16": 2.411e12, "int8": 4.335e12},
        bytes_per_s=2.1e10,
        power_w=35.0,
    )


def _layer(layer: int) -> tuple[Op, ...]:
    path = f"encoder.layer.{layer}"
    return (
        _op(f"{path}.query", "linear", 1.1e-4, 2.7e7, 8.1e5),
        _op(f"{path}.key", "linear", 1.1e-4, 2.7e7, 8.1e5),
        _op(f"{path}.value", "linear", 1.2e-4, 2.7e7, 8.1e5),
        _op(f"{path}.attention", "attention", 4.0e-5, 1.3e6, 2.9e5),
        _op(f"{path}.dense", "linear", 1.1e-4, 2.7e7, 8.1e5),
        _op(f"{path}.up", "linear", 4.4e-4, 1.1e8, 2.7e6),
        _op(f"{path}.gelu", "elementwise", 3.0e-5, 7.1e5, 5.7e5),
        _op(f"{path}.down", "linear", 4.6e-4, 1.1e8, 2.7e6),
        _op(f"{path}.norm", "norm", 1.6e-5, 1.3e5, 1.4e5),
        _op(f"{path}.dropout", "copy", 9.0e-6, 0.0, 1.4e5),
    )


def _op(name: str, kind: str, seconds: float, flops: float, num_bytes: float) -> Op:
    compute_s, memory_s = flops / _device().flops_per_s["float32"], num_bytes / _device().bytes_per_s
    allowed = max(compute_s, memory_s) / seconds
    limit: Literal["compute", "memory"] = "compute" if compute_s > memory_s else "memory"
    bound: Literal["compute", "memory", "overhead"] = limit if allowed >= 0.5 else "overhead"
    return Op(name=name, kind=kind, seconds=seconds, flops=flops, bytes=num_bytes, bound=bound, roofline_fraction=allowed)
