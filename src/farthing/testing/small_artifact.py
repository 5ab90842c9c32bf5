"""A real artifact of a few kilobytes: four numbers times a matrix, on ONNX Runtime."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from farthing import pipeline as pipelines
from farthing.artifact import Artifact, save
from farthing.testing import decisions
from farthing.testing.renderers import COST, FIGURES
from farthing.types import Build, Deployment, MemberRef, Pipeline, TensorSpec

WEIGHTS = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def write(folder: Path, *, job_name: str = "Four numbers", **deployment: Any) -> Artifact:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    source = folder / "model"
    source.mkdir(parents=True)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["numbers", "weights"], ["scores"])],
        "tiny",
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ("batch", 4))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ("batch", 3))],
        [numpy_helper.from_array(WEIGHTS, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), source / "model.onnx")
    pipeline = pipelines.write(
        Pipeline(
            directory=source,
            form="onnx",
            file="model.onnx",
            inputs=(TensorSpec(name="numbers", dtype="float32", shape=("batch", 4)),),
            outputs=(TensorSpec(name="scores", dtype="float32", shape=("batch", 3)),),
        )
    )
    made_up = decisions.saves()
    assert made_up.chosen is not None
    chosen = replace(
        made_up.chosen,
        deployment=Deployment(build=Build(recipe=(), runtime=MemberRef(name="onnxruntime")), **deployment),
        figures=FIGURES[:2],
        cost=COST,
    )
    decision = replace(made_up, chosen=chosen, job_name=job_name)
    return save(pipeline, folder / "artifact", decision=decision, original_digest="e" * 64)
