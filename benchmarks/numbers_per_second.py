"""Numbers per second: what shrinks weights, against the reference library that does the same, in turns on one machine.

    PYTHONPATH=src PYTHON benchmarks/numbers_per_second.py [SECTION ...]      -> results/numbers_per_second.json and .md

PYTHON is of an environment that has the reference libraries (torch, gptqmodel, hqq, neural-compressor-pt); one that is missing
is told as such. Each section of SECTIONS gives {who: call}; the calls take turns, after one that is not counted.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

RESULTS = Path(__file__).parent / "results"
ROUNDS = 7
Calls = dict[str, Callable[[], Any]]  # "farthing" first


def gptq_layer() -> tuple[str, Calls]:
    """The layer's rounding, given the second moment of its inputs; act_order, 4 bits, groups of 64."""
    from farthing.methods.gptq import Gptq

    weight_OI, moment_II = layer(1024)
    calls: Calls = {"farthing": lambda: Gptq().rounded(weight_OI, moment_II.double()).decode()}

    def gptqmodel() -> Callable[[], Any]:
        from gptqmodel.quantization.config import QuantizeConfig
        from gptqmodel.quantization.gptq import GPTQ

        def call() -> Any:
            linear = torch.nn.Linear(1024, 1024, bias=False).requires_grad_(False)
            linear.weight.data = weight_OI.clone()
            task = GPTQ(linear, QuantizeConfig(bits=4, group_size=64, desc_act=True, sym=False, act_group_aware=False))
            task.quantizer.configure(perchannel=True)
            task.add_batch(inputs(1024), None)
            started = time.perf_counter()
            found = task.quantize()[0]
            return Timed(found, time.perf_counter() - started)

        return call

    return "GPTQ of a 1024 x 1024 layer", calls | reference("gptqmodel", gptqmodel)


def rtn_weights() -> tuple[str, Calls]:
    """4 bits, groups of 64, asymmetric; farthing's codes are packed, the reference's are left as they are."""
    from farthing.forms import grouped

    weight_OI = torch.randn(4096, 1024, generator=torch.Generator().manual_seed(0))

    def ours() -> Any:
        weight_OGS = weight_OI.unflatten(1, (-1, 64))
        scale_OG, zero_OG = grouped.grid(weight_OGS, 4)
        return grouped.packed(grouped.codes(weight_OGS, scale_OG, zero_OG, 4), scale_OG, zero_OG, 4)

    def neural_compressor() -> Callable[[], Any]:
        from neural_compressor.torch.algorithms.weight_only.utility import quant_tensor

        return lambda: quant_tensor(weight_OI.clone(), bits=4, group_size=64, scheme="asym", return_int=True)

    return "RTN of 4,194,304 weights", {"farthing": ours} | reference("neural_compressor", neural_compressor)


def hqq_weights() -> tuple[str, Calls]:
    """4 bits, groups of 64, at most 20 turns; both packed."""
    from farthing.methods.hqq import Hqq

    weight_OI = torch.randn(4096, 1024, generator=torch.Generator().manual_seed(0))

    def hqq() -> Callable[[], Any]:
        from hqq.core.quantize import Quantizer

        options = {"nbits": 4, "group_size": 64, "axis": 1, "compute_dtype": torch.float32, "device": "cpu"}
        return lambda: Quantizer.quantize(weight_OI, **options)

    ours = {"farthing": lambda: Hqq().settled(weight_OI.unflatten(1, (-1, 64)))}
    return "HQQ of 4,194,304 weights", ours | reference("hqq", hqq)


SECTIONS = (gptq_layer, rtn_weights, hqq_weights)


class Timed:
    """An answer whose making was only a part of the call."""

    def __init__(self, value: Any, seconds: float) -> None:
        self.value, self.seconds = value, seconds


def reference(name: str, make: Callable[[], Callable[[], Any]]) -> Calls:
    try:
        return {name: make()}
    except ImportError as error:
        print(f"{name} is not there: {error}")
        return {}


def layer(num_inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A square weight, and the second moment of inputs that are correlated."""
    x_NI = inputs(num_inputs)
    return torch.randn(num_inputs, num_inputs, generator=torch.Generator().manual_seed(1)), x_NI.T @ x_NI / len(x_NI)


def inputs(num_inputs: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    mixing = torch.randn(num_inputs, num_inputs, generator=generator) / num_inputs**0.5
    return torch.randn(4096, num_inputs, generator=generator) @ (mixing + torch.eye(num_inputs))


def in_turns(calls: Calls) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(ROUNDS + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            answer = call()
            spent = answer.seconds if isinstance(answer, Timed) else time.perf_counter() - started
            if number:
                seconds[name].append(spent)
    return seconds


def main(names: list[str]) -> None:
    file = RESULTS / "numbers_per_second.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    for section in SECTIONS:
        if not names or section.__name__ in names:
            title, calls = section()
            found[title] = {"what": section.__doc__, "threads": torch.get_num_threads(), "seconds": in_turns(calls)}
            print(title, {name: float(np.median(values)) for name, values in found[title]["seconds"].items()}, flush=True)
    file.write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "numbers_per_second.md").write_text("\n".join(table(found)) + "\n")


def table(found: dict[str, Any]) -> list[str]:
    lines = [
        "# Numbers per second",
        "",
        "Median [quartiles] of the seconds; farthing's time over the reference's in the same round: below 1 is faster.",
        "",
        "| what | who | s | farthing over this |",
        "|---|---|---|---|",
    ]
    for title, section in found.items():
        ours = np.array(section["seconds"]["farthing"])
        for name, values in section["seconds"].items():
            ratios = ours / np.array(values)
            told = "" if name == "farthing" else "{:.2f} [{:.2f}, {:.2f}]".format(*np.percentile(ratios, (50, 25, 75)))
            spread = "{:.3f} [{:.3f}, {:.3f}]".format(*np.percentile(values, (50, 25, 75)))
            lines.append(f"| {title} | {name} | {spread} | {told} |")
    return lines


if __name__ == "__main__":
    main(sys.argv[1:])
