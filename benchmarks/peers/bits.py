"""The reference libraries' weights in few bits, on the model and data of `language.py`. Runs in their environment.

    PYTHONPATH=src:benchmarks PYTHON benchmarks/peers/bits.py FOLDER [NAME]     FOLDER as language.py was given it

Keeps the losses, or the error, in FOLDER/losses, where `language.py FOLDER report` finds them. All grids are asymmetric, in
groups along the inputs, as farthing's are.
"""

import copy
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import language_model as language

BITS, GROUP_SIZES = (3, 4), (64, 128)


def main(folder: Path, only: str = "") -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    module, (train, _, test) = language.trained(folder), language.text()
    rows = torch.from_numpy(language.windows(train, language.NUM_CALIBRATION, seed=1))
    for name, make in REFERENCES.items():
        for size in GROUP_SIZES:
            for bits in BITS:
                file = folder / "losses" / f"{name} {bits} {size}.json"
                if only in name and not file.exists():
                    file.write_text(json.dumps(judged(make, copy.deepcopy(module), rows, (bits, size), test)))
                    found = json.loads(file.read_text())
                    print(file.stem, found.get("error") or f"perplexity {np.exp(np.mean(found['losses'])):.4f}", flush=True)


def judged(make: Callable[..., Any], module: nn.Module, rows: torch.Tensor, setting: tuple[int, int], test: Any) -> Any:
    started = time.perf_counter()
    try:
        result = make(module, rows, *setting)
        seconds = time.perf_counter() - started
        return {"losses": [round(float(value), 7) for value in language.losses(result, test)], "seconds": seconds}
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a library raises is its result
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}


def batches(rows: torch.Tensor) -> list[torch.Tensor]:
    return list(rows.split(8))


def hqq_own(module: nn.Module, rows: torch.Tensor, bits: int, size: int) -> nn.Module:
    """Mobius Labs' hqq."""
    from hqq.core.quantize import Quantizer

    for _, layer in linears(module):
        codes, meta = Quantizer.quantize(
            layer.weight.data, nbits=bits, group_size=size, axis=1, optimize=True, round_zero=False, bitpack=False,
            compute_dtype=torch.float32, device="cpu",
        )  # fmt: skip
        layer.weight.data = Quantizer.dequantize(codes, meta).float().reshape(layer.weight.shape)
    return module


def gptqmodel_gptq(module: nn.Module, rows: torch.Tensor, bits: int, size: int) -> nn.Module:
    """GPTQModel's quantizer of one layer, put to the layers in turn, each seeing what the rounded ones before it give."""
    from gptqmodel.quantization.config import QuantizeConfig
    from gptqmodel.quantization.gptq import GPTQ

    for _, layer in in_order(module):
        config = QuantizeConfig(bits=bits, group_size=size, desc_act=True, sym=False, damp_percent=0.01, act_group_aware=False)
        task = GPTQ(layer, config)
        task.quantizer.configure(perchannel=True)
        handle = layer.register_forward_pre_hook(lambda _, inputs, task=task: task.add_batch(inputs[0], inputs[0]))
        with torch.no_grad():
            for batch in batches(rows):
                module(batch)
        handle.remove()
        layer.weight.data = task.quantize()[0].float().reshape(layer.weight.shape)
    return module


def neural_compressor(method: str) -> Callable[..., Any]:
    def made(module: nn.Module, rows: torch.Tensor, bits: int, size: int) -> Any:
        from neural_compressor.torch import quantization as inc

        options: dict[str, Any] = {"bits": bits, "group_size": size, "white_list": [nn.Linear]}
        if method != "hqq":
            options |= {"use_sym": False}
        if method == "gptq":
            options |= {"act_order": True, "static_groups": False, "percdamp": 0.01, "block_size": 128}
            options |= {"model_path": "."}  # without one it asks a hub for the model of no name
        if method == "rtn":
            options |= {"use_layer_wise": False}
        config = {"rtn": inc.RTNConfig, "gptq": inc.GPTQConfig, "awq": inc.AWQConfig, "hqq": inc.HQQConfig}[method](**options)
        prepared = inc.prepare(module, config, inplace=True, example_inputs=rows[:1])
        with torch.no_grad():
            for batch in batches(rows):
                prepared(batch)
        return inc.convert(prepared)

    return made


def linears(module: nn.Module) -> list[tuple[str, nn.Linear]]:
    return [(path, part) for path, part in module.named_modules() if isinstance(part, nn.Linear)]


def in_order(module: nn.Module) -> list[tuple[str, nn.Linear]]:
    """As the model runs them: query, key, value, out, gate, up, down; the head last. It is how they are declared."""
    return linears(module)


REFERENCES: dict[str, Callable[..., Any]] = {
    "neural_compressor rtn": neural_compressor("rtn"),
    "hqq hqq": hqq_own,
    "neural_compressor hqq": neural_compressor("hqq"),
    "gptqmodel gptq": gptqmodel_gptq,
    "neural_compressor gptq": neural_compressor("gptq"),
    "neural_compressor awq": neural_compressor("awq"),
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
