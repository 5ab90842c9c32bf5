"""The power model: which processor gets which watts, and the arithmetic."""

from dataclasses import replace

import pytest

from farthing.meters.modelled import Modelled
from farthing.results import Device

DEVICE = Device(
    name="Intel(R) Xeon(R) Platinum 8275CL CPU @ 3.00GHz",
    kind="cpu",
    num_cores=4,
    memory_bytes=8e9,
    flops_per_s={},
    bytes_per_s=0.0,
)


def test_idle_cores_draw_idle_watts_and_busy_ones_busy_watts() -> None:
    idle = Modelled().energy_j(DEVICE, busy_core_s=0.0, elapsed_s=10.0)
    busy = Modelled().energy_j(DEVICE, busy_core_s=40.0, elapsed_s=10.0)
    assert idle == pytest.approx(0.690 * 4 * 10)
    assert busy == pytest.approx(4.063 * 4 * 10)


@pytest.mark.parametrize(
    ("processor", "architecture"),
    [
        ("Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz", "Broadwell"),
        ("Intel(R) Xeon(R) Platinum 8175M CPU @ 2.50GHz", "Skylake"),
        ("Intel(R) Xeon(R) Platinum 8275CL CPU @ 3.00GHz", "Cascade Lake"),
        ("Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz", "Ice Lake"),
        ("Intel(R) Xeon(R) Platinum 8488C", "Sapphire Rapids"),
        ("INTEL(R) XEON(R) PLATINUM 8581C CPU @ 2.60GHz", "Emerald Rapids"),
        ("Intel(R) Xeon(R) Processor @ 2.50GHz", "mean of 8 Intel server generations"),
        ("Intel(R) Xeon(R) 6975P-C", "Granite Rapids"),
        ("AMD EPYC 7B12", "EPYC 2nd Gen"),
        ("AMD EPYC 7R13 Processor", "EPYC 3rd Gen"),
        ("AMD EPYC 9R14", "EPYC 4th Gen"),
        ("AMD EPYC 9755", "mean of 4 AMD server generations"),
        ("Neoverse-V1", "mean of 12 x86 server generations"),
    ],
)
def test_the_processor_s_name_tells_its_microarchitecture(processor: str, architecture: str) -> None:
    assert f"per vCPU, {architecture} (" in Modelled().describe(replace(DEVICE, name=processor))


def test_no_model_for_an_accelerator() -> None:
    assert not Modelled.available(replace(DEVICE, kind="cuda"))
