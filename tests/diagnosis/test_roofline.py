"""FLOPs by hand, and operators placed by numbers chosen to sit on each side of every line."""

import pytest

from farthing.diagnosis.roofline import Call, flops, grouped, place
from farthing.results import Device

DEVICE = Device(
    name="a machine",
    kind="cpu",
    num_cores=4,
    memory_bytes=8e9,
    flops_per_s={"float32": 4e9, "int8": 16e9},
    bytes_per_s=1e9,
)


def call(seconds: float, flops: float = 0.0, bytes: float = 0.0, count: int = 1, dtype: str = "float32") -> Call:
    return Call(name="x", kind="linear", seconds=seconds, flops=flops, bytes=bytes, count=count, dtype=dtype)


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs", "expected"),
    [
        ("linear", [(3, 5), (5, 7)], [(3, 7)], 2 * 3 * 5 * 7),
        ("matmul", [(2, 3, 5), (2, 5, 7)], [(2, 3, 7)], 2 * 2 * 3 * 5 * 7),
        ("conv", [(1, 4, 8, 8), (6, 4, 3, 3)], [(1, 6, 6, 6)], 2 * 6 * 6 * 6 * 4 * 9),
        ("conv", [(1, 4, 8, 8), (4, 1, 3, 3)], [(1, 4, 6, 6)], 2 * 4 * 6 * 6 * 9),  # depthwise
        ("conv_transpose", [(1, 4, 8, 8), (4, 6, 3, 3)], [(1, 6, 10, 10)], 2 * 4 * 8 * 8 * 6 * 9),
        ("attention", [(2, 3, 5, 8), (2, 3, 9, 8), (2, 3, 9, 4)], [(2, 3, 5, 4)], 2 * 2 * 3 * 5 * 9 * (8 + 4)),
        ("elementwise", [(3, 4)], [(3, 4)], 12),
        ("norm", [(3, 4)], [(3, 4)], 60),
        ("view", [(3, 4)], [(12,)], 0),
        ("other", [], [], 0),
    ],
)
def test_flops(kind: str, inputs: list[tuple[int, ...]], outputs: list[tuple[int, ...]], expected: float) -> None:
    assert flops(kind, inputs, outputs) == expected


@pytest.mark.parametrize(
    ("one", "bound", "fraction"),
    [
        (call(2.0, flops=4e9, bytes=1e8), "compute", 0.5),  # 1 s of arithmetic, 0.1 s of traffic, in 2 s
        (call(4.0, flops=4e8, bytes=1e9), "memory", 0.25),  # far from its roof, but long
        (call(5e-5, flops=1.0, bytes=1.0), "overhead", 1e-9 / 5e-5),
        (call(5e-5, bytes=4e4), "memory", 0.8),  # short, but near its roof
        (call(5e-3, flops=1.0, bytes=1.0, count=100), "overhead", 1e-9 / 5e-3),  # many short calls
        (call(0.0), "overhead", 1.0),
        (call(0.5, flops=4e9), "compute", 1.0),  # faster than the measured ceiling: the ceiling was measured too low
        (call(1.0, flops=16e9, dtype="int8"), "compute", 1.0),
        (call(8.0, flops=16e9, dtype="float16"), "compute", 0.5),  # no such ceiling: float32's stands in
    ],
)
def test_bound_and_fraction(one: Call, bound: str, fraction: float) -> None:
    long = call(100.0, flops=4e11)
    _, op = place([long, one], long.seconds + one.seconds, DEVICE, threads=4)
    assert op.bound == bound
    assert op.roofline_fraction == pytest.approx(fraction)


def test_fewer_threads_have_a_lower_roof() -> None:
    (op,) = place([call(4.0, flops=4e9)], 4.0, DEVICE, threads=1)
    assert op.roofline_fraction == pytest.approx(1.0)
    (op,) = place([call(4.0, flops=4e9)], 4.0, DEVICE, threads=8)
    assert op.roofline_fraction == pytest.approx(0.25)


def test_operators_and_what_lies_between_them_add_up_to_the_batch() -> None:
    ops = place([call(1.0, flops=1.0), call(2.0, flops=1.0, count=3)], 4.5, DEVICE, threads=4)
    assert [(op.name, op.kind, op.seconds) for op in ops] == [
        ("3 x x", "linear", 2.0),
        ("between operators", "dispatch", 1.5),
        ("x", "linear", 1.0),
    ]


def test_instruments_that_slowed_the_operators_are_scaled_away() -> None:
    ops = place([call(1.0), call(3.0)], 2.0, DEVICE, threads=4)
    assert [op.seconds for op in ops] == [1.5, 0.5]


def test_operators_too_short_to_be_seen_leave_everything_between_them() -> None:
    assert [(op.kind, op.seconds) for op in place([call(0.0)], 1.0, DEVICE, threads=4)] == [("dispatch", 1.0), ("linear", 0.0)]


def test_a_form_without_calls_has_no_operators() -> None:
    assert place([], 1.0, DEVICE, threads=1) == ()


def test_grouping_keeps_every_sum() -> None:
    calls = [call(1.0, flops=2.0, bytes=3.0), call(2.0, flops=2.0, bytes=3.0), call(1.0, dtype="int8")]
    first, second = grouped(calls)
    assert (first.seconds, first.flops, first.bytes, first.count) == (3.0, 4.0, 6.0, 2)
    assert (second.count, second.dtype) == (1, "int8")
