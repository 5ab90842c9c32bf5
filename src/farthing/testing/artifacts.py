"""A small real artifact: four ids are looked up and averaged; an id that is not in the table makes ONNX Runtime fail."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from farthing import pipeline as pipelines
from farthing.artifact import Artifact, save
from farthing.results import ServiceModel
from farthing.testing import decisions
from farthing.types import Array, Build, Deployment, MemberRef, Pipeline, TensorSpec

NUM_IDS, WIDTH = 8, 5
TABLE = np.random.default_rng(1).standard_normal((NUM_IDS, WIDTH)).astype(np.float32)
SERVICE = ServiceModel(coefficients=(1e-3, 1e-4, 0.0, 0.0), relative_error=0.0, host_s=0.0, threads=1, streams=1)


def lookup(directory: Path, *, name: str = "lookup", table: Array = TABLE, **deployment: object) -> Artifact:
    """(batch, 4) int64 ids -> (batch, WIDTH) float32, saved in `directory / "artifact"`. Another `name`: another version."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    source = directory / "model"
    source.mkdir(parents=True)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("ReduceMean", ["rows"], ["mean"], axes=[1], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ("batch", 4))],
        [helper.make_tensor_value_info("mean", TensorProto.FLOAT, ("batch", WIDTH))],
        [numpy_helper.from_array(table, "table")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), source / "model.onnx")
    pipeline = pipelines.write(
        Pipeline(
            directory=source,
            form="onnx",
            file="model.onnx",
            inputs=(TensorSpec(name="ids", dtype="int64", shape=("batch", 4)),),
            outputs=(TensorSpec(name="mean", dtype="float32", shape=("batch", WIDTH)),),
        )
    )
    made_up = decisions.saves()
    assert made_up.chosen is not None
    build = Build(recipe=(), runtime=MemberRef(name="onnxruntime"))
    chosen = replace(made_up.chosen, deployment=Deployment(build=build, **deployment))  # type: ignore[arg-type]
    decision = replace(made_up, chosen=chosen, job_name="lookup")
    return save(pipeline, directory / "artifact", decision=decision, original_digest="of nothing", service=SERVICE)


def expected(ids: Array) -> Array:
    """(n, WIDTH): what the model answers to (n, 4) ids."""
    return np.asarray(TABLE[ids].mean(axis=1))
