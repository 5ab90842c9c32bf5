"""Packed weights on OpenVINO: they stay in their type in the file, and give what the decoded floats give."""

from pathlib import Path

import numpy as np
import openvino
import pytest

from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.methods.base import Method
from farthing.testing import methods as laws
from farthing.testing import zoo
from farthing.types import MemberRef


@pytest.mark.parametrize(("name", "bits", "kind"), [("awq", 4, "u4"), ("gptq", 8, "u8"), ("gptq", 3, "u4"), ("hqq", 4, "u4")])
def test_weights_stay_in_their_type(name: str, bits: int, kind: str, tmp_path: Path) -> None:
    source = zoo.source("encoder", tmp_path / "source")
    context = zoo.context(source)
    method = plugins.make(Method, MemberRef(name=name, knobs=(("bits", bits),)))
    result = method.apply(source, tmp_path / "packed", context)
    graph = plugins.load(Conversion, "torch_to_openvino")().convert(result, tmp_path / "openvino", context)
    constants = [op for op in openvino.Core().read_model(graph.path).get_ops() if op.get_type_name() == "Constant"]
    packed = [
        op for op in constants if op.get_element_type().get_type_name() == kind and len(op.shape) == 3 and op.shape[2] > 1
    ]
    assert len(packed) == 4 * 6
    floats = [op for op in constants if op.get_element_type().get_type_name() == "f32" and np.prod(op.shape) >= 1024]
    assert [list(op.shape) for op in floats] == [[64, 32]]  # the embedding alone
    of_torch, of_openvino = laws.answers(result, context)[0], laws.answers(graph, context)[0]
    assert np.abs(of_torch - of_openvino).max() < 0.02 * np.abs(of_torch).max()  # activations are rounded on the way
