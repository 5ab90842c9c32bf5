"""The guess that orders the search."""

from dataclasses import replace

import pytest

from farthing.runtimes.base import amdahl
from farthing.testing.profiles import encoder_profile


def test_time_between_operators_shrinks_apart_from_time_inside_them() -> None:
    profile = encoder_profile()
    ops = tuple(replace(op, seconds=1.0, bound="overhead" if i % 2 else "compute") for i, op in enumerate(profile.ops[:4]))
    assert amdahl(replace(profile, ops=ops), kernels=1.0, overhead=3.0) == pytest.approx(1 / (1 / 2 + 1 / 6))
    assert amdahl(replace(profile, ops=ops[:1]), kernels=1.2, overhead=3.0) == pytest.approx(1.2)
    assert amdahl(replace(profile, ops=()), kernels=1.2, overhead=3.0) == pytest.approx(1.2)
