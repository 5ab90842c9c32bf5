"""A small real model that misbehaves on request: it answers NaN, never ends, kills its process or raises."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from farthing import pipeline as pipelines
from farthing.artifact import Artifact, save
from farthing.testing import decisions
from farthing.testing.artifacts import SERVICE, TABLE, WIDTH
from farthing.types import Build, Deployment, MemberRef, Pipeline, TensorSpec

NAN, LOOPS, CRASHES, RAISES = 8, 9, 10, 11  # what an id does; 0 to 7 are looked up as in `farthing.testing.artifacts`


def misbehaving(directory: Path, **deployment: object) -> Artifact:
    """(batch, 4) int64 ids -> (batch, WIDTH) float32, saved in `directory / "artifact"`.

    LOOPS: a Loop of 2**62 turns. CRASHES: -2**63 / -1, which x86 answers with a signal. RAISES: / 0, which is checked.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    source = directory / "model"
    source.mkdir(parents=True)
    node, typed = helper.make_node, helper.make_tensor_value_info
    turn = helper.make_graph(
        [node("Identity", ["go"], ["goes on"]), node("Identity", ["value"], ["same"])],
        "turn",
        [typed("number", TensorProto.INT64, ()), typed("go", TensorProto.BOOL, ()), typed("value", TensorProto.INT64, ())],
        [typed("goes on", TensorProto.BOOL, ()), typed("same", TensorProto.INT64, ())],
    )
    nodes = [
        node("Equal", ["ids", "loops"], ["is loop"]),
        node("Cast", ["is loop"], ["loops here"], to=TensorProto.INT64),
        node("ReduceMax", ["loops here"], ["any loop"], keepdims=0),
        node("Mul", ["any loop", "ever"], ["turns"]),
        node("Loop", ["turns", "", "zero"], ["spun"], body=turn),
        node("Sub", ["ids", "beyond"], ["below"]),
        node("Div", ["least", "below"], ["quotient"]),
        node("Mul", ["quotient", "zero"], ["nothing"]),
        node("Add", ["nothing", "spun"], ["still nothing"]),
        node("Add", ["ids", "still nothing"], ["rows wanted"]),
        node("Gather", ["table", "rows wanted"], ["rows"]),
        node("ReduceMean", ["rows"], ["mean"], axes=[1], keepdims=0),
    ]
    table = np.concatenate([TABLE, np.full((3, WIDTH), np.nan, np.float32)])
    numbers = {"loops": LOOPS, "beyond": CRASHES + 1, "least": -(2**63), "ever": 2**62, "zero": 0}
    graph = helper.make_graph(
        nodes,
        "misbehaving",
        [typed("ids", TensorProto.INT64, ("batch", 4))],
        [typed("mean", TensorProto.FLOAT, ("batch", WIDTH))],
        [
            numpy_helper.from_array(table, "table"),
            *(numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()),
        ],
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
    decision = replace(made_up, chosen=chosen, job_name="misbehaving")
    return save(pipeline, directory / "artifact", decision=decision, original_digest="of nothing", service=SERVICE)
