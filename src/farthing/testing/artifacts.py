"""Small real artifacts: four ids averaged, an id that is not in the table makes ONNX Runtime fail; and texts, words summed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from farthing import pipeline as pipelines
from farthing.artifact import Artifact, save
from farthing.results import ServiceModel
from farthing.testing import decisions
from farthing.types import Array, Build, Deployment, Floor, MemberRef, Pipeline, TensorSpec

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
    return _saved(pipeline, directory, "lookup", **deployment)


def words(directory: Path, table: Mapping[str, Array], **deployment: object) -> Artifact:
    """A text -> the sum of the rows of its words; a word that is not in `table` counts nothing."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, pre_tokenizers

    source = directory / "model"
    source.mkdir(parents=True)
    vocabulary = {word: i for i, word in enumerate(("[UNK]", *table))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(source / "tokenizer.json"))
    rows = np.stack([np.zeros_like(next(iter(table.values()))), *table.values()]).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "two"], ["mask_BL1"]),
        helper.make_node("Mul", ["rows", "mask_BL1"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "one"], ["sum"], keepdims=0),
    ]
    names = ("input_ids", "attention_mask")
    constants = {"table": rows, "one": np.array([1]), "two": np.array([2])}
    graph = helper.make_graph(
        nodes,
        "words",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ("batch", "length")) for name in names],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, ("batch", rows.shape[1]))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), source / "model.onnx")
    pipeline = pipelines.write(
        Pipeline(
            directory=source,
            form="onnx",
            file="model.onnx",
            tokenizer="tokenizer.json",
            max_length=16,
            inputs=tuple(TensorSpec(name=name, dtype="int64", shape=("batch", "length")) for name in names),
            outputs=(TensorSpec(name="sum", dtype="float32", shape=("batch", rows.shape[1])),),
        )
    )
    return _saved(pipeline, directory, "words", **deployment)


def _saved(pipeline: Pipeline, directory: Path, name: str, **deployment: object) -> Artifact:
    made_up = decisions.saves()
    assert made_up.chosen is not None
    build = Build(recipe=(), runtime=MemberRef(name="onnxruntime"))
    chosen = replace(made_up.chosen, deployment=Deployment(build=build, **deployment))  # type: ignore[arg-type]
    floors = (Floor(metric="accuracy", max_drop=0.05),) if name == "words" else made_up.floors
    decision = replace(made_up, chosen=chosen, job_name=name, floors=floors)
    return save(pipeline, directory / "artifact", decision=decision, original_digest="of nothing", service=SERVICE)


def expected(ids: Array) -> Array:
    """(n, WIDTH): what the model answers to (n, 4) ids."""
    return np.asarray(TABLE[ids].mean(axis=1))
