"""Graphs that OpenVINO's frontend cannot read."""

from pathlib import Path

import pytest

from farthing.conversions.onnx_to_openvino import OnnxToOpenVino
from farthing.errors import BuildError
from farthing.testing import samples

from .conftest import Made


def test_classical_operators_are_refused(made: Made, tmp_path: Path) -> None:
    source = made("forest", "onnx")
    with pytest.raises(BuildError, match=r"OpenVINO cannot read model.onnx: it has no ai.onnx.ml.TreeEnsembleClassifier$"):
        OnnxToOpenVino().convert(source, tmp_path / "result", samples.context(source))
