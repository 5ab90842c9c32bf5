"""Olive: its search over ONNX Runtime's fusions and quantizations, and its `optimize` command as it comes.

    /path/to/olive-environment/bin/python benchmarks/peers/olive_auto.py FOLDER/fixed32

Telemetry is switched off before Olive is imported, and nothing is fetched.
"""

import os

os.environ |= {"OLIVE_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import question
from olive.data.registry import Registry
from question import Found, Question

MOST_TRIALS = 24
SEARCH_S = 120
SEARCHED = ("quant_mode", "per_channel", "reduce_range", "quant_format", "activation_type", "precision")


@Registry.register_dataset()
def calibration_texts(folder: str, **_: Any) -> Any:
    """One text an item: (inputs, label), as Olive's data loader wants it."""
    import torch

    rows = torch.from_numpy(question.read(Path(folder)).tokens["calibrate"])
    return [({"input_ids": row, "attention_mask": torch.ones_like(row)}, 0) for row in rows]


def cosine(model: Any, device: Any, execution_providers: Any, *, folder: str) -> dict[str, float]:
    """Olive's custom metric: mean cosine to the original."""
    session = model.prepare_session()
    return {"cosine": 1.0 - question.read(Path(folder)).drop("tune", lambda feeds: session.run(None, feeds)[0])}


def search(asked: Question) -> Found:
    """TPE over its own search space: latency first, while the cosine keeps its goal."""
    from olive import run

    with tempfile.TemporaryDirectory() as scratch:
        output = run(_workflow(asked, scratch))
        best = output.get_best_candidate()
        if best is None:
            raise RuntimeError("the search put out no model")
        shutil.copy(best.model_path, asked.folder / "olive.onnx")
        nodes = output.footprint.nodes
        node, steps = nodes[best.model_id], []
        while node.from_pass:
            settings = {key: value for key, value in (node.pass_run_config or {}).items() if key in SEARCHED}
            steps.append(f"{node.from_pass} {settings}")
            node = nodes[node.parent_model_id]
    found = _found(asked, "olive.onnx", f"{' after '.join(steps)}; {len(nodes)} models made")
    return replace(found, own_drop=asked.drop("tune", found.run))


def _workflow(asked: Question, scratch: str) -> dict[str, Any]:
    shapes = [[asked.batch, asked.length]] * 2
    inputs = {"input_names": ["input_ids", "attention_mask"], "input_shapes": shapes, "input_types": ["int64", "int64"]}
    folder = str(asked.folder)
    quality = {
        "name": "quality",
        "type": "custom",
        "sub_types": [
            {
                "name": "cosine",
                "priority": 2,
                "higher_is_better": True,
                "goal": {"type": "max-degradation", "value": question.MAX_DROP},
            }
        ],
        "user_config": {"user_script": __file__, "evaluate_func": "cosine", "evaluate_func_kwargs": {"folder": folder}},
    }
    latency = {"name": "latency", "type": "latency", "sub_types": [{"name": "avg", "priority": 1}], "data_config": "shape"}
    quantization = {"type": "OnnxQuantization", "data_config": "texts"} | dict.fromkeys(SEARCHED, "SEARCHABLE_VALUES")
    return {
        "input_model": {"type": "OnnxModel", "model_path": str(asked.onnx)},
        "systems": {
            "here": {
                "type": "LocalSystem",
                "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
            }
        },
        "data_configs": [
            {
                "name": "shape",
                "type": "DummyDataContainer",
                "load_dataset_config": {"type": "dummy_dataset", **inputs},
            },
            {
                "name": "texts",
                "user_script": __file__,
                "load_dataset_config": {"type": "calibration_texts", "folder": folder},
                "dataloader_config": {"batch_size": 1},
            },
        ],
        "evaluators": {"both": {"metrics": [latency, quality]}},
        "passes": {"fuse": {"type": "OrtTransformersOptimization", "model_type": "bert"}, "quantize": quantization},
        "search_strategy": {
            "execution_order": "joint",
            "sampler": "tpe",
            "sampler_config": {"seed": 0},
            "max_iter": MOST_TRIALS,
            "max_time": SEARCH_S,
            "output_model_num": 5,
        },
        "evaluator": "both",
        "host": "here",
        "target": "here",
        "evaluate_input_model": True,
        "cache_dir": f"{scratch}/cache",
        "output_dir": f"{scratch}/out",
    }


def command(asked: Question, *options: str, hugging_face: bool = False) -> Found:
    """`olive optimize` with these options, on the ONNX file or on the folder of weights."""
    import sources

    model = str(sources._minilm()) if hugging_face else str(asked.onnx)
    name = f"olive-{'folder' if hugging_face else 'file'}{''.join(options)}.onnx".replace("--", "-")
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ["optimize", "-m", model, "-o", f"{scratch}/out", "--disable_telemetry", *options]
        done = subprocess.run([sys.executable, "-m", "olive", *arguments], cwd=scratch, capture_output=True, text=True)
        made = sorted(Path(scratch, "out").rglob("*.onnx"))
        if done.returncode or not made:
            last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-3:]
            raise RuntimeError(f"exit code {done.returncode}, {len(made)} models: {' | '.join(last)}")
        shutil.copy(made[0], asked.folder / name)
    return _found(asked, name, f"olive {' '.join(arguments[:1] + list(options))}")


def _found(asked: Question, name: str, chose: str) -> Found:
    import onnx
    import onnxruntime

    session = onnxruntime.InferenceSession(str(asked.folder / name), providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(asked.folder / name, load_external_data=False).graph.node}
    return Found(
        model=name,
        form="onnx",
        precision="int8" if any("Quant" in kind or "Integer" in kind or "QLinear" in kind for kind in kinds) else "float32",
        chose=chose,
        own_drop=None,
        run=lambda feeds: session.run(None, feeds)[0],
    )


FLOWS: dict[str, Callable[[Question], Found]] = {
    "search": search,
    "optimize (ONNX file)": command,
    "optimize --precision int8 (ONNX file)": lambda asked: command(asked, "--precision", "int8"),
    "optimize (folder of weights)": partial(command, hugging_face=True),
    "optimize --precision int8 (folder of weights)": lambda asked: command(asked, "--precision", "int8", hugging_face=True),
}

if __name__ == "__main__":
    FLOWS["search, mended"] = search
    question.put("olive", ("olive-ai", "onnxruntime", "onnx", "torch", "transformers", "optuna"), FLOWS)
