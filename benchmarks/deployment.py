"""The deployment found, against what one gets from each library by its own means: MiniLM, 32 tokens x 1 and 128 tokens x 32.

    FARTHING_DATA=... python benchmarks/deployment.py RUNS

RUNS holds the finished runs of benchmarks/jobs/fixed32.toml and fixed128.toml. Every variant lives in a process of its own;
they take turns, so that all are slowed alike; ratios are to torch eager float32 in the same round. One thread each: the
price of a share is per core.
"""

import json
import statistics
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from farthing.measurement.workers import Worker

sys.path.insert(0, str(Path(__file__).parent / "jobs"))

ROUNDS = 7
CALIBRATION = 64
RESULTS = Path(__file__).parent / "results"
SHAPES = {"fixed32": (1, 32), "fixed128": (32, 128)}
VARIANTS = (
    "eager_fp32", "eager_bf16", "compile_freeze_fp32", "compile_freeze_bf16", "ort_fp32", "ort_dynamic_int8", "ort_static_int8",
    "openvino_f32", "openvino_default", "openvino_nncf_int8",
)  # fmt: skip


def main(runs: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    results: dict[str, Any] = {"threads": 1, "rounds": ROUNDS, "versions": _versions()}
    for job, (batch, length) in SHAPES.items():
        workers: dict[str, Worker] = {}
        failed: dict[str, str] = {}
        for name in (*VARIANTS, "farthing"):
            worker = Worker(log=folder / f"{name}.log", max_rss_bytes=6e9, timeout_s=400)
            try:
                worker.call(open_variant, name, str(runs / job / "artifact"), batch, length)
                workers[name] = worker
            except Exception as error:  # noqa: BLE001 - what a peer does wrong is its result
                failed[name] = str(error)[:300]
                worker.stop()
        answers = {name: worker.call(answer) for name, worker in workers.items()}
        seconds: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(ROUNDS):
            for name, worker in workers.items():
                seconds[name].append(worker.call(one_round))
        for worker in workers.values():
            worker.stop()
        results[job] = {"batch": batch, "length": length, "seconds": seconds, "failed": failed} | {
            "cosine": {n: float((a * answers["eager_fp32"]).sum(1).mean()) for n, a in answers.items()}
        }
        (RESULTS / "deployment.json").write_text(json.dumps(results, indent=1))
        print(_table(job, results[job]))
    (RESULTS / "deployment.md").write_text("\n\n".join(_table(job, results[job]) for job in SHAPES) + "\n")


def open_variant(state: dict[str, Any], name: str, artifact: str, batch: int, length: int) -> None:
    import sources

    state["texts"] = sources.long_paragraphs()["text"]
    state["batch"], state["length"] = batch, length
    if name == "farthing":
        from farthing.artifact import load, open_session

        loaded = load(Path(artifact))
        session = open_session(loaded)
        state["run"] = lambda feeds: session.run(feeds)[0]
    else:
        state["run"] = globals()[f"_{name}"](state)
    state["feeds"] = _feeds(state, state["texts"][:batch])
    state["run"](state["feeds"])


def answer(state: dict[str, Any], num_texts: int = 128) -> Any:
    """Unit embeddings of the last texts, which nothing was calibrated on."""
    rows = []
    for start in range(0, num_texts, state["batch"]):
        rows.append(state["run"](_feeds(state, state["texts"][-num_texts:][start : start + state["batch"]])))
    stacked = np.concatenate(rows).astype(np.float64)
    return stacked / np.linalg.norm(stacked, axis=1, keepdims=True)


def one_round(state: dict[str, Any], least_s: float = 0.8) -> float:
    """Median seconds of one batch over `least_s` seconds."""
    times: list[float] = []
    while sum(times) < least_s:
        started = time.perf_counter()
        state["run"](state["feeds"])
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _feeds(state: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    import sources
    from tokenizers import Tokenizer

    if "tokenizer" not in state:
        state["tokenizer"] = Tokenizer.from_file(str(sources._minilm() / "tokenizer.json"))
        state["tokenizer"].enable_truncation(state["length"])
        state["tokenizer"].no_padding()
    ids = np.array([e.ids for e in state["tokenizer"].encode_batch(texts)], np.int64)
    assert ids.shape == (len(texts), state["length"])
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def _module(dtype: str = "float32") -> Any:
    import sources
    import torch
    from transformers import AutoModel

    torch.set_num_threads(1)
    encoder = AutoModel.from_pretrained(sources._minilm()).eval()
    encoder.pooler = None

    class Embedder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return sources._pooled(self.encoder, input_ids, attention_mask)

    return Embedder().eval().to(getattr(torch, dtype))


def _run_torch(module: Any, *, autocast: bool = False) -> Any:
    import torch

    def run(feeds: dict[str, Any]) -> Any:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return module(torch.from_numpy(feeds["input_ids"]), torch.from_numpy(feeds["attention_mask"])).float().numpy()

    return run


def _eager_fp32(state: dict[str, Any]) -> Any:
    return _run_torch(_module())


def _eager_bf16(state: dict[str, Any]) -> Any:
    return _run_torch(_module("bfloat16"))


def _compile_freeze_fp32(state: dict[str, Any]) -> Any:
    import torch
    import torch._inductor.config as config

    config.freezing = True
    return _run_torch(torch.compile(_module()))


def _compile_freeze_bf16(state: dict[str, Any]) -> Any:
    import torch
    import torch._inductor.config as config

    config.freezing = True
    return _run_torch(torch.compile(_module()), autocast=True)


def _onnx() -> Path:
    import torch

    path = Path(tempfile.mkdtemp()) / "model.onnx"
    axes = {0: "batch", 1: "length"}
    example = torch.ones(2, 16, dtype=torch.long)
    torch.onnx.export(
        _module(), (example, example), str(path), dynamo=False, opset_version=17, input_names=["input_ids", "attention_mask"],
        output_names=["output"], dynamic_axes={"input_ids": axes, "attention_mask": axes, "output": {0: "batch"}},
    )  # fmt: skip
    return path


def _run_ort(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)[0]


def _ort_fp32(state: dict[str, Any]) -> Any:
    return _run_ort(_onnx())


def _ort_dynamic_int8(state: dict[str, Any]) -> Any:
    from onnxruntime.quantization import quantize_dynamic

    path = _onnx()
    quantize_dynamic(path, path.with_name("int8.onnx"))
    return _run_ort(path.with_name("int8.onnx"))


def _ort_static_int8(state: dict[str, Any]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    feeds = iter([_feeds(state, [text]) for text in state["texts"][:CALIBRATION]])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            return next(feeds, None)

    path = _onnx()
    quantize_static(path, path.with_name("int8.onnx"), Reader())
    return _run_ort(path.with_name("int8.onnx"))


def _run_openvino(model: Any, **options: str) -> Any:
    import openvino

    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": "1", "PERFORMANCE_HINT": "LATENCY", **options})
    return lambda feeds: compiled(feeds)[0]


def _openvino_model() -> Any:
    import openvino

    return openvino.Core().read_model(_onnx())


def _openvino_f32(state: dict[str, Any]) -> Any:
    return _run_openvino(_openvino_model(), INFERENCE_PRECISION_HINT="f32")


def _openvino_default(state: dict[str, Any]) -> Any:
    return _run_openvino(_openvino_model())


def _openvino_nncf_int8(state: dict[str, Any]) -> Any:
    import nncf

    feeds = [_feeds(state, [text]) for text in state["texts"][:CALIBRATION]]
    model = nncf.quantize(_openvino_model(), nncf.Dataset(feeds), model_type=nncf.ModelType.TRANSFORMER)
    return _run_openvino(model)


def _table(job: str, result: dict[str, Any]) -> str:
    eager = result["seconds"]["eager_fp32"]
    lines = [
        f"**{job}**: {result['length']} tokens x {result['batch']}, one thread, {len(eager)} rounds in turns",
        "",
        "| variant | times faster than eager fp32, median [range] | ms a batch, median | mean cosine to eager |",
        "|---|---|---|---|",
    ]
    for name, seconds in sorted(result["seconds"].items(), key=lambda item: statistics.median(item[1])):
        ratios = sorted(e / s for e, s in zip(eager, seconds, strict=True))
        spread = f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"
        lines.append(f"| {name} | {spread} | {1e3 * statistics.median(seconds):.1f} | {result['cosine'][name]:.4f} |")
    lines += [f"| {name} | failed: {why} | | |" for name, why in result["failed"].items()]
    return "\n".join(lines)


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("torch", "onnxruntime", "openvino", "nncf", "transformers")}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
