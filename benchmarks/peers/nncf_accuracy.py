"""NNCF's accuracy-aware quantization of the OpenVINO form: quantize all, then give layers back until the drop is kept.

/path/to/nncf-environment/bin/python benchmarks/peers/nncf_accuracy.py FOLDER/fixed32
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import nncf
import numpy as np
import openvino
import question
from question import Found, Question


def accuracy_control(asked: Question, **settings: Any) -> Found:
    batches = range(asked.batch, len(asked.answers["tune"]), asked.batch)
    reference = np.split(asked.answers["tune"], batches)
    scores: list[float] = []

    def cosine(model: Any, items: Iterable[Any]) -> tuple[float, list[float]]:
        cosines = [(model(feeds)[0] * answers).sum(1).mean() for feeds, answers in zip(items, reference, strict=False)]
        scores.append(float(np.mean(cosines)))
        return scores[-1], [float(value) for value in cosines]

    quantized = nncf.quantize_with_accuracy_control(
        openvino.Core().read_model(asked.onnx),
        calibration_dataset=nncf.Dataset(asked.feeds("calibrate")),
        validation_dataset=nncf.Dataset(asked.feeds("tune")),
        validation_fn=cosine,
        max_drop=question.MAX_DROP,
        drop_type=nncf.DropType.ABSOLUTE,
        **settings,
    )
    openvino.save_model(quantized, asked.folder / "nncf.xml", compress_to_fp16=False)
    kinds = Counter(node.get_type_name() for node in quantized.get_ops())
    run = openvino.compile_model(quantized, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return Found(
        model="nncf.xml",
        form="openvino",
        precision="int8" if kinds["FakeQuantize"] else "float32",
        chose=f"{kinds['FakeQuantize']} FakeQuantize in the graph, {len(scores)} evaluations",
        own_drop=1.0 - scores[-1],
        run=lambda feeds: run(feeds)[0],
    )


def transformer(asked: Question) -> Found:
    """With the one knob that its documentation asks for in transformers."""
    return accuracy_control(asked, model_type=nncf.ModelType.TRANSFORMER)


FLOWS: dict[str, Callable[[Question], Found]] = {"model_type=transformer": transformer}

if __name__ == "__main__":
    question.put("nncf", ("nncf", "openvino", "torch"), FLOWS)
