"""A small real model that misbehaves on request: it answers NaN, never ends, kills its process, raises or keeps memory."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from farthing import pipeline as pipelines
from farthing.artifact import Artifact, save
from farthing.testing import decisions
from farthing.testing.artifacts import SERVICE, TABLE, WIDTH
from farthing.types import Build, Deployment, MemberRef, Pipeline, TensorSpec

NAN, LOOPS, CRASHES, RAISES, GROWS = (
    8,
    9,
    10,
    11,
    12,
)  # what an id does; 0 to 7 are looked up as in `farthing.testing.artifacts`


GROWTH = 2**24


def misbehaving(directory: Path, **deployment: object) -> Artifact:
    """(batch, 4) int64 ids -> (batch, WIDTH) float32, saved in `directory / "artifact"`.

    LOOPS: a Loop of 2**62 turns. CRASHES: -2**63 / -1, which x86 answers with a signal. RAISES: / 0, which is checked.
    GROWS: GROWTH float32 at once, which the arena of ONNX Runtime keeps.
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
        node("Equal", ["ids", "grows"], ["is growth"]),
        node("Cast", ["is growth"], ["growth here"], to=TensorProto.INT64),
        node("ReduceMax", ["growth here"], ["any growth"], keepdims=1, axes=[0, 1]),
        node("Mul", ["any growth", "growth"], ["size less one"]),
        node("Reshape", ["size less one", "one axis"], ["size on one axis"]),
        node("Add", ["size on one axis", "one"], ["size"]),
        node("ConstantOfShape", ["size"], ["much"]),
        node("ReduceMax", ["much"], ["zero of much"], keepdims=0),
        node("Cast", ["zero of much"], ["grown"], to=TensorProto.INT64),
        node("Add", ["nothing", "spun"], ["nothing spun"]),
        node("Add", ["nothing spun", "grown"], ["still nothing"]),
        node("Add", ["ids", "still nothing"], ["rows wanted"]),
        node("Gather", ["table", "rows wanted"], ["rows"]),
        node("ReduceMean", ["rows"], ["mean"], axes=[1], keepdims=0),
    ]
    table = np.concatenate([TABLE, np.full((5, WIDTH), np.nan, np.float32)])
    table[GROWS] = 0.0
    numbers: dict[str, int | list[int]] = {"loops": LOOPS, "beyond": CRASHES + 1, "least": -(2**63), "ever": 2**62, "zero": 0}
    numbers |= {"grows": GROWS, "growth": GROWTH, "one": [1], "one axis": [1]}
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
