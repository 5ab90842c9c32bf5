"""Where the operators of an ONNX graph come from."""

from onnx import helper

from farthing.forms.onnx_quantization import SCOPES, places


def test_places_are_names_and_noted_modules() -> None:
    traced = helper.make_node("MatMul", ["x", "w"], ["y"], name="/layer.0/query/MatMul")
    exported = helper.make_node("MatMul", ["y", "w"], ["z"], name="node_MatMul_83")
    entry = exported.metadata_props.add()
    entry.key, entry.value = SCOPES, "['', 'layer', 'layer.1', 'layer.1.down', 'matmul_3']"
    other = helper.make_node("Relu", ["z"], ["a"], name="/relu")
    graph = helper.make_graph([traced, exported, other], "graph", [], [])
    assert places(graph, frozenset({"MatMul"})) == {
        "/layer.0/query/MatMul": "/layer.0/query/MatMul/",
        "node_MatMul_83": "node_MatMul_83//layer/layer.1/layer.1.down/matmul_3",
    }
