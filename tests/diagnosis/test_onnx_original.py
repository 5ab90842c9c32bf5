"""The timeline of an ONNX file: ONNX Runtime's profile with the shapes of prepacked weights put back."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from farthing.diagnosis.onnx_original import OnnxOriginal, _call
from farthing.errors import ModelError
from farthing.types import Pipeline, TensorSpec


@pytest.fixture
def original(tmp_path: Path) -> OnnxOriginal:
    """x (batch, 16) -> MatMul 16x32 -> Relu -> MatMul 32x32 twice -> Softmax."""
    weights = [np.eye(16, 32, dtype=np.float32), np.eye(32, dtype=np.float32), np.eye(32, dtype=np.float32)]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["c"]),
        helper.make_node("MatMul", ["c", "w2"], ["d"]),
        helper.make_node("Softmax", ["d"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 32])],
        [numpy_helper.from_array(weight, f"w{i}") for i, weight in enumerate(weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    specs = (TensorSpec(name="x", dtype="float32", shape=("batch", 16)),)
    return OnnxOriginal(Pipeline(directory=tmp_path, form="onnx", file="model.onnx", inputs=specs, outputs=()), "cpu")


def test_nodes_with_flops_and_bytes(original: OnnxOriginal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    feeds = {"x": np.ones((4, 16), np.float32)}
    original.run(feeds, 1)
    for _ in range(3):
        original.trace(feeds, 1)
    calls = {call.name: call for call in original.timeline()}
    square = calls["MatMul 4x32, 32x32 -> 4x32"]
    assert (square.count, square.kind, square.flops) == (2, "linear", 2 * 2 * 4 * 32 * 32)
    assert square.bytes == 2 * 4 * (4 * 32 + 32 * 32 + 4 * 32)
    assert calls["MatMul 4x16, 16x32 -> 4x32"].flops == 2 * 4 * 16 * 32
    assert {call.kind for call in calls.values()} == {"linear", "elementwise", "softmax"}
    assert all(call.seconds > 0 for call in calls.values())
    assert not list(scratch.iterdir())  # the profiles are gone


def test_sessions_of_one_millisecond_have_each_their_profile(
    original: OnnxOriginal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sessions = [original._open(1, profiled=True) for _ in range(30)]
    profiles = {session.end_profiling() for session in sessions}
    assert len(profiles) == 30 and all(Path(profile).exists() for profile in profiles)


def test_a_graph_has_no_sensitivities(original: OnnxOriginal) -> None:
    assert original.sensitivities((), 1).errors == ()


def test_a_missing_provider_is_not_replaced_by_the_cpu(original: OnnxOriginal) -> None:
    with pytest.raises(ModelError, match="no CUDAExecutionProvider"):
        OnnxOriginal(original.pipeline, "cuda").run({"x": np.ones((1, 16), np.float32)}, 1)


def facts(operator: str, inputs: list[dict[str, list[int]]], outputs: list[dict[str, list[int]]]) -> dict[str, object]:
    return {"op_name": operator, "input_type_shape": inputs, "output_type_shape": outputs}


@pytest.mark.parametrize(
    ("event", "kind", "dtype", "flops"),
    [
        (facts("MatMul", [{"float": [2, 3, 5]}, {"float": [2, 5, 7]}], [{"float": [2, 3, 7]}]), "matmul", "float32", 420),
        (facts("MatMulInteger", [{"uint8": [3, 5]}, {"int8": [5, 7]}], [{"int32": [3, 7]}]), "linear", "int8", 210),
        (facts("DynamicQuantizeMatMul", [{"float": [3, 5]}, {"int8": [5, 7]}], [{"float": [3, 7]}]), "linear", "int8", 210),
        (
            facts(
                "QLinearConv",
                [{"uint8": [1, 4, 8, 8]}, {"float": []}, {"uint8": []}, {"int8": [6, 4, 3, 3]}, {"float": []}],
                [{"uint8": [1, 6, 6, 6]}],
            ),
            "conv",
            "int8",
            2 * 216 * 36,
        ),
        (
            facts("Attention", [{"float": [1, 4, 8]}, {"float": [8, 24]}, {"float": [24]}], [{"float": [1, 4, 8]}]),
            "attention",
            "float32",
            2 * 4 * 8 * 24 + 2 * 2 * 4 * 4 * 8,
        ),
        (facts("FusedGemm", [{"float": [3, 5]}, {"float": [5, 7]}], [{"float": [3, 7]}]), "linear", "float32", 210),
        (facts("Reshape", [{"float": [3, 5]}], [{"float": [15]}]), "view", "float32", 0),
    ],
)
def test_operators_of_onnx_runtimes_own(event: dict[str, object], kind: str, dtype: str, flops: float) -> None:
    call = _call(event, 1.0)
    assert (call.kind, call.dtype, call.flops) == (kind, dtype, flops)
