"""MiniLM as each library gives it by its own means, as a peer returned it, and as farthing deploys it. Runs inside workers.

One thread each, except where a deployment asks for more: then `threads` says so, and its cost is counted in core-seconds.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).parent / folder) for folder in ("peers", "jobs")]

import question  # noqa: E402

Run = Callable[[dict[str, Any]], Any]
CALIBRATION = 64


def open_variant(
    state: dict[str, Any], name: str, batch: int, length: int, original: Path, found: dict[str, str] | None
) -> dict[str, Any]:
    """Open and warm up. `found`: the model that somebody else made, its `form` and where it lies; None: one of PLAIN, made
    from the module or from `original`, its ONNX file.

    Gives what it runs on: {"batch", "threads", "precision", "what"}.
    """
    import sources

    texts = sources.long_paragraphs()["text"]
    state |= {"calibration": question.tokens(texts[:CALIBRATION], length), "original": original}
    facts = {"batch": batch, "threads": 1, "precision": "float32", "what": name}
    state["run"], more = PLAIN[name](state) if found is None else FORMS[found["form"]](found)
    facts |= more
    state |= {"tokens": question.tokens(texts, length), "batch": facts["batch"]}
    state["feeds"] = _feed(state["tokens"][: facts["batch"]])
    state["run"](state["feeds"])
    return facts


def answers(state: dict[str, Any], num_texts: int) -> Any:
    """(num_texts, 384) embeddings of the last texts, which nothing was calibrated on."""
    rows, batch = state["tokens"][-num_texts:], state["batch"]
    found = [state["run"](_feed(rows[i : i + batch])) for i in range(0, num_texts, batch)]
    return np.concatenate(found).astype(np.float64)


def one_round(state: dict[str, Any], least_s: float, least_calls: int) -> list[float]:
    """Seconds of each call of one batch."""
    times: list[float] = []
    while sum(times) < least_s or len(times) < least_calls:
        started = time.perf_counter()
        state["run"](state["feeds"])
        times.append(time.perf_counter() - started)
    return times


def export(state: dict[str, Any], path: Path) -> None:
    question.export(path)


def flops(state: dict[str, Any], batch: int, length: int) -> float:
    """Of one batch, by torch's own counter: 2 per multiplication and addition in products of matrices, attention included."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    ids = torch.ones(batch, length, dtype=torch.long)
    with torch.inference_mode(False), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        question.module()(ids, torch.ones_like(ids))
    return float(counter.get_total_flops())


def one_core_peaks(state: dict[str, Any]) -> dict[str, float]:
    """FLOP/s per precision of one core: farthing's own probes, in a process that may use no other."""
    import os

    from farthing.diagnosis.ceilings import measure_ceilings

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return dict(measure_ceilings().flops_per_s)


def _eager(dtype: str) -> tuple[Run, dict[str, Any]]:
    import torch

    return _torch(question.module().to(getattr(torch, dtype))), {"precision": dtype}


def _compiled(precision: str) -> tuple[Run, dict[str, Any]]:
    import torch
    import torch._inductor.config as config

    config.freezing = True
    return _torch(torch.compile(question.module()), autocast=precision == "bfloat16"), {"precision": precision}


def _torch(module: Any, *, autocast: bool = False, exported: bool = False) -> Run:
    import torch

    mode = torch.no_grad if exported else torch.inference_mode  # graphs of torch.export may not run in the latter

    torch.set_num_threads(1)

    def run(feeds: dict[str, Any]) -> Any:
        with mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return module(*(torch.from_numpy(value) for value in feeds.values())).float().numpy()

    return run


def _onnxruntime(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)[0]


def _ort_dynamic_int8(state: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    from onnxruntime.quantization import quantize_dynamic

    path = Path(tempfile.mkdtemp()) / "int8.onnx"
    quantize_dynamic(state["original"], path)
    return _onnxruntime(path), {"precision": "int8"}


def _ort_static_int8(state: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    feeds = iter([_feed(row[None]) for row in state["calibration"]])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            return next(feeds, None)

    path = Path(tempfile.mkdtemp()) / "int8.onnx"
    quantize_static(state["original"], path, Reader())
    return _onnxruntime(path), {"precision": "int8"}


def _openvino(model: Any, **options: str) -> tuple[Run, dict[str, Any]]:
    import openvino

    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": "1", "PERFORMANCE_HINT": "LATENCY", **options})
    name = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return lambda feeds: compiled(feeds)[0], {"precision": {"f32": "float32", "bf16": "bfloat16"}.get(name, name)}


def _openvino_int8(state: dict[str, Any]) -> tuple[Run, dict[str, Any]]:
    import nncf
    import openvino

    feeds = nncf.Dataset([_feed(row[None]) for row in state["calibration"]])
    model = nncf.quantize(openvino.Core().read_model(state["original"]), feeds, model_type=nncf.ModelType.TRANSFORMER)
    return _openvino(model)[0], {"precision": "int8"}


def _exported(path: str, *, compiled: bool) -> tuple[Run, dict[str, Any]]:
    """A graph of torch.export, its quantized operators as they are or fused by inductor."""
    import torch
    import torch._inductor.config as config
    import torch.ao.quantization.fx._decomposed  # registers the operators that such a graph calls

    config.freezing = True
    module = torch.export.load(path).module()
    return _torch(torch.compile(module) if compiled else module, exported=True), {}


def _deployed(path: str) -> tuple[Run, dict[str, Any]]:
    """One stream of the artifact, through farthing's own runtime."""
    from farthing import plugins
    from farthing.artifact import load
    from farthing.runtimes.base import Runtime

    artifact = load(Path(path), trust=True)
    chosen = artifact.manifest.deployment
    runtime = plugins.make(Runtime, chosen.build.runtime)  # type: ignore[type-abstract]
    session = runtime.open(artifact.pipeline, threads=chosen.threads, streams=1, device_kind=chosen.build.device_kind)
    traits = artifact.pipeline.traits
    precision = "int8" if "int8" in traits else "bfloat16" if any("bf16" in trait for trait in traits) else "float32"
    facts = {"batch": chosen.batch_size, "threads": chosen.threads, "precision": precision, "what": str(chosen)}
    return lambda feeds: session.run(feeds)[0], facts


def _feed(ids: Any) -> dict[str, Any]:
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def _plain_openvino(state: dict[str, Any], **options: str) -> tuple[Run, dict[str, Any]]:
    import openvino

    return _openvino(openvino.Core().read_model(state["original"]), **options)


PLAIN: dict[str, Callable[[dict[str, Any]], tuple[Run, dict[str, Any]]]] = {
    "torch eager fp32": lambda state: _eager("float32"),
    "torch eager bf16": lambda state: _eager("bfloat16"),
    "torch.compile, freezing": lambda state: _compiled("float32"),
    "torch.compile, freezing, bf16": lambda state: _compiled("bfloat16"),
    "ONNX Runtime fp32": lambda state: (_onnxruntime(state["original"]), {}),
    "ONNX Runtime dynamic int8": _ort_dynamic_int8,
    "ONNX Runtime static int8": _ort_static_int8,
    "OpenVINO f32": lambda state: _plain_openvino(state, INFERENCE_PRECISION_HINT="f32"),
    "OpenVINO default": _plain_openvino,
    "OpenVINO, NNCF int8": _openvino_int8,
}
FORMS: dict[str, Callable[[dict[str, str]], tuple[Run, dict[str, Any]]]] = {
    "onnx": lambda found: (_onnxruntime(Path(found["path"])), {"precision": found["precision"]}),
    "openvino": lambda found: (_openvino(found["path"])[0], {"precision": found["precision"]}),
    "exported": lambda found: (_exported(found["path"], compiled=False)[0], {"precision": found["precision"]}),
    "exported, compiled": lambda found: (_exported(found["path"], compiled=True)[0], {"precision": found["precision"]}),
    "farthing": lambda found: _deployed(found["path"]),
}
