"""Two tiny models and their artifacts, each saved once for all tests: a classifier of arrays and an encoder of texts."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from farthing import pipeline as pipelines
from farthing.artifact import Artifact, Sample, save
from farthing.results import Certificate, Decision
from farthing.testing import decisions
from farthing.types import Array, Build, Dataset, Deployment, Floor, MemberRef, Pipeline, TensorSpec

WORDS = ("[PAD]", "[UNK]", "a", "penny", "saved", "is", "earned")
WEIGHTS = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
EMBEDDINGS = np.random.default_rng(1).standard_normal((len(WORDS), 5)).astype(np.float32)


@dataclass(frozen=True)
class Case:
    pipeline: Pipeline
    decision: Decision
    sample: Sample
    artifact: Artifact


@pytest.fixture(scope="session")
def classifier_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """(batch, 4) float32 -> (batch, 3) logits."""
    nodes = [helper.make_node("MatMul", ["pixels", "weights"], ["logits"])]
    inputs = (TensorSpec(name="pixels", dtype="float32", shape=("batch", 4)),)
    outputs = (TensorSpec(name="logits", dtype="float32", shape=("batch", 3)),)
    return onnx_pipeline(tmp_path_factory.mktemp("classifier"), nodes, {"weights": WEIGHTS}, inputs, outputs)


@pytest.fixture(scope="session")
def encoder_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A text -> the mean of its words' embeddings (batch, 5)."""
    directory = tmp_path_factory.mktemp("encoder")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(directory / "tokenizer.json"))
    nodes = [
        helper.make_node("Gather", ["embeddings", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["words", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["column", "middle"], ["count"], keepdims=0),
        helper.make_node("Div", ["total", "count"], ["embedding"]),
    ]
    constants = {"embeddings": EMBEDDINGS, "last": np.array([2]), "middle": np.array([1])}
    inputs = tuple(TensorSpec(name=name, dtype="int64", shape=("batch", "length")) for name in ("input_ids", "attention_mask"))
    outputs = (TensorSpec(name="embedding", dtype="float32", shape=("batch", 5)),)
    return onnx_pipeline(directory, nodes, constants, inputs, outputs, tokenizer="tokenizer.json", max_length=16)


def onnx_pipeline(
    directory: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, Array],
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    **facts: object,
) -> Pipeline:
    def value(spec: TensorSpec) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), spec.shape)

    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "tiny", [value(s) for s in inputs], [value(s) for s in outputs], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, directory / "model.onnx")
    pipeline = Pipeline(directory=directory, form="onnx", file="model.onnx", inputs=inputs, outputs=outputs, **facts)
    return pipelines.write(pipeline)


def decision_for(metric: str, **deployment: object) -> Decision:
    """A made-up decision whose chosen deployment runs on ONNX Runtime, certified for a drop of 0.01 in `metric`."""
    made_up = decisions.saves()
    assert made_up.chosen is not None
    build = Build(recipe=(), runtime=MemberRef(name="onnxruntime"))
    certificate = Certificate(
        metric=metric,
        verdict="PASS",
        original=0.9,
        candidate=0.9,
        drop=0.0,
        upper_bound=0.004,
        max_drop=0.01,
        alpha=0.05,
        num_items=1000,
        protocol="made up",
        certifiable_drop=0.004,
        items_missing=0,
    )
    chosen = replace(made_up.chosen, deployment=Deployment(build=build, **deployment), certificates=(certificate,))
    return replace(made_up, chosen=chosen, floors=(Floor(metric=metric, max_drop=0.01),))


@pytest.fixture(scope="session")
def classifier(classifier_pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Case:
    pixels = np.random.default_rng(2).standard_normal((700, 4)).astype(np.float32)
    logits = pixels @ WEIGHTS
    labels = np.where(np.arange(700) % 10 == 0, 0, logits.argmax(axis=1))
    sample = Sample(items=Dataset(columns=(pixels,), labels=labels), original=logits)
    decision = decision_for("accuracy", batch_size=8)
    return saved(classifier_pipeline, decision, sample, tmp_path_factory.mktemp("saved") / "classifier")


@pytest.fixture(scope="session")
def encoder(encoder_pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Case:
    generator = np.random.default_rng(3)
    texts = [" ".join(generator.choice(WORDS[2:], generator.integers(1, 9))) for _ in range(80)]
    embeddings = np.array([EMBEDDINGS[[WORDS.index(word) for word in text.split()]].mean(axis=0) for text in texts])
    pairs = Dataset(columns=(texts[:40], texts[40:]), labels=np.arange(40.0), pair=True)
    answers = np.stack([embeddings[:40], embeddings[40:]], axis=1).reshape(80, 5)
    decision = decision_for("spearman", batch_size=4, bucketing=True)
    sample = Sample(items=pairs, original=pairs.predictions(answers))
    return saved(encoder_pipeline, decision, sample, tmp_path_factory.mktemp("saved") / "encoder")


def saved(pipeline: Pipeline, decision: Decision, sample: Sample, directory: Path) -> Case:
    artifact = save(pipeline, directory, decision=decision, original_digest="e" * 64, carried=sample)
    return Case(pipeline=pipeline, decision=decision, sample=sample, artifact=artifact)


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Case], Path]:
    """A copy of an artifact that a test may spoil."""
    return lambda case: shutil.copytree(case.artifact.directory, tmp_path / "copy")
