"""How far each operator runs from what the device allows: FLOPs and bytes from shapes, and the bound that follows."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from farthing.results import Device, Op

Shape = tuple[int, ...]

OVERHEAD_FRACTION = 0.25  # an operator that reaches no more of its roof than this ...
OVERHEAD_CALL_S = 100e-6  # ... and whose call is shorter than this is bound by the cost of being called
FLOPS_PER_VALUE = {"norm": 5, "softmax": 5, "copy": 0, "embedding": 0, "view": 0}  # of each output value; other kinds: 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """All calls in one batch of one operator on the same shapes; seconds, flops and bytes are their sums."""

    name: str
    kind: str
    seconds: float
    flops: float
    bytes: float
    dtype: str = "float32"
    count: int = 1


def place(calls: Sequence[Call], batch_s: float, device: Device, threads: int) -> tuple[Op, ...]:
    """Operators against the roofline (Williams et al. 2009, doi:10.1145/1498765.1498785), the longest first.

    attainable_s = max(flops / peak, bytes / bandwidth); `threads` cores reach their share of the device's peak.
    Law: the seconds add up to `batch_s`, the time of the batch without instruments. What no operator took stands in an
    operator of kind "dispatch"; where instruments made the operators take more than the batch, they are scaled down.
    """
    if not calls:
        return ()
    timed_s = sum(call.seconds for call in calls)
    scale = min(1.0, batch_s / timed_s) if timed_s else 1.0
    ops = [_placed(call, call.seconds * scale, device, threads) for call in calls]
    if timed_s < batch_s:
        ops.append(_dispatch(batch_s - timed_s))
    return tuple(sorted(ops, key=lambda op: -op.seconds))


def _placed(call: Call, seconds: float, device: Device, threads: int) -> Op:
    peak = device.flops_per_s.get(call.dtype) or device.flops_per_s["float32"]
    compute_s = call.flops / (peak * min(1.0, threads / device.num_cores if device.kind == "cpu" else 1.0))
    memory_s = call.bytes / device.bytes_per_s
    attainable_s = max(compute_s, memory_s)
    bound: Literal["compute", "memory", "overhead"] = "compute" if compute_s >= memory_s else "memory"
    if attainable_s <= OVERHEAD_FRACTION * seconds and seconds < OVERHEAD_CALL_S * call.count:
        bound = "overhead"
    return Op(
        name=f"{call.count} x {call.name}" if call.count > 1 else call.name,
        kind=call.kind,
        seconds=seconds,
        flops=call.flops,
        bytes=call.bytes,
        bound=bound,
        roofline_fraction=min(1.0, attainable_s / seconds) if seconds else 1.0,  # caches can beat the memory roof
    )


def _dispatch(seconds: float) -> Op:
    return Op(
        name="between operators",
        kind="dispatch",
        seconds=seconds,
        flops=0.0,
        bytes=0.0,
        bound="overhead",
        roofline_fraction=0.0,
    )


def grouped(calls: Sequence[Call]) -> tuple[Call, ...]:
    """One `Call` for all that share name, kind and dtype."""
    groups: dict[tuple[str, str, str], list[Call]] = defaultdict(list)
    for call in calls:
        groups[call.name, call.kind, call.dtype].append(call)
    return tuple(
        Call(
            name=name,
            kind=kind,
            seconds=sum(call.seconds for call in group),
            flops=sum(call.flops for call in group),
            bytes=sum(call.bytes for call in group),
            dtype=dtype,
            count=len(group),
        )
        for (name, kind, dtype), group in groups.items()
    )


def flops(kind: str, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> float:
    """FLOPs of one call; a multiplication and an addition count as two.

    linear, matmul: 2 |out| K, inputs (..., M, K) and (..., K, N).  conv: 2 |out| |weight| / out_channels, inputs image, weight.
    conv_transpose: 2 |image| |weight| / in_channels.  attention: 2 |query| L_key + 2 |query| / E L_key E_value, inputs q, k, v.
    """
    if not inputs or not outputs:
        return 0.0
    if kind in ("linear", "matmul"):
        return 2.0 * prod(outputs[0]) * (inputs[0][-1] if inputs[0] else 1)
    if kind == "conv":
        return 2.0 * prod(outputs[0]) * prod(inputs[1][1:])
    if kind == "conv_transpose":
        return 2.0 * prod(inputs[0]) * prod(inputs[1][1:])
    if kind == "attention":
        query, key, value = inputs[:3]
        return 2.0 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
    return float(FLOPS_PER_VALUE.get(kind, 1) * sum(prod(shape) for shape in outputs))


def label(name: str, inputs: Sequence[Shape], outputs: Sequence[Shape]) -> str:
    """`addmm 46x384, 384x1536 -> 46x1536`: what an operator is called in a profile."""
    return f"{name} {', '.join(_sizes(s) for s in inputs[:2])} -> {', '.join(_sizes(s) for s in outputs[:1])}"


def _sizes(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "1"
