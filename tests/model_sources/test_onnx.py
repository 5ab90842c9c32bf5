"""ONNX files: their axes, weights beside them, tokenizers, and files that cannot be optimized. None of it needs torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from farthing.errors import ModelError
from farthing.model_sources.onnx import Onnx
from farthing.testing import samples
from farthing.testing.model_sources import check_refuses, check_runs_as_described


def product(path: Path, shape: tuple[object, ...] = ("N", 3), *, location: str | None = None, kind: str = "MatMul") -> Path:
    """y = x @ w, with w beside the file where a location is given."""
    weight = numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    node = helper.make_node(kind, ["x", "w"], ["y"])
    value = helper.make_tensor_value_info
    outputs = [value("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], "product", [value("x", TensorProto.FLOAT, shape)], outputs, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if location is None:
        onnx.save(model, path)
    else:
        onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def sample(directory: Path) -> Onnx:
    return Onnx(path=product(directory / "product.onnx", location="product.bin"))


def test_axes_and_traits(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    pipeline = Onnx(path=product(tmp_path / "product.onnx")).snapshot(tmp_path / "model", trust=False)
    assert (pipeline.inputs[0].shape, pipeline.outputs[0].shape) == (("batch", 3), ("batch", 2))
    assert pipeline.traits == {"float_weights"}


def test_sizes_fix_other_axes(tmp_path: Path) -> None:
    path = product(tmp_path / "product.onnx", ("N", "rows", 3))
    check_refuses(Onnx(path=path), tmp_path / "one", "axis 'rows' of input x has no size", "sizes = { rows = ... }")
    unnamed = product(tmp_path / "unnamed.onnx", ("N", None, 3))
    check_refuses(Onnx(path=unnamed), tmp_path / "two", "axis 2 of input x has neither size nor name")
    (tmp_path / "model").mkdir()
    pipeline = Onnx(path=path, sizes={"rows": 4}).snapshot(tmp_path / "model", trust=False)
    assert pipeline.outputs[0].shape == ("batch", 4, 2)


def test_text_models_bring_a_tokenizer(tmp_path: Path) -> None:
    original = samples.in_form("encoder", "onnx", tmp_path / "made")
    tokenizer = original.directory / "tokenizer.json"
    source = Onnx(path=original.path, tokenizer=tokenizer, max_length=32)
    (tmp_path / "model").mkdir()
    pipeline = source.snapshot(tmp_path / "model", trust=False)
    assert (pipeline.inputs, pipeline.outputs, pipeline.max_length) == (original.inputs, original.outputs, 32)
    check_runs_as_described(pipeline)
    check_refuses(Onnx(path=original.path, tokenizer=tokenizer), tmp_path / "one", "go together")
    check_refuses(Onnx(path=original.path, pad_id=1), tmp_path / "three", "pad_id has no effect without a tokenizer")
    assert source.reads == "texts" and not source.questions().keys() - {"tokenizer", "max_length"}
    check_refuses(Onnx(path=original.path, tokenizer=tmp_path, max_length=8), tmp_path / "two", "no tokenizer at")


def test_an_int8_model_is_known_as_one(tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(product(tmp_path / "product.onnx"), tmp_path / "int8.onnx")
    (tmp_path / "model").mkdir()
    assert Onnx(path=tmp_path / "int8.onnx").snapshot(tmp_path / "model", trust=False).traits == {"int8"}


def test_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    check_refuses(
        Onnx(path=product(tmp_path / "one.onnx", (1, 3))), tmp_path / "model", "input x is 1 x 3", "dynamic first axis"
    )


def test_weights_outside_the_folder_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    model = onnx.load(product(folder / "product.onnx", location="w.bin"), load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../../secret"
    onnx.save(model, folder / "product.onnx")
    check_refuses(Onnx(path=folder / "product.onnx"), tmp_path / "model", "'../../secret'", "outside its folder")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    check_refuses(Onnx(path=tmp_path / "gone.onnx"), tmp_path / "one", "gone.onnx", "No such file")
    (tmp_path / "broken.onnx").write_bytes(b"\x08not a graph")
    check_refuses(Onnx(path=tmp_path / "broken.onnx"), tmp_path / "two", "is not an ONNX file")
    product(tmp_path / "unknown.onnx", kind="Frobnicate")
    check_refuses(Onnx(path=tmp_path / "unknown.onnx"), tmp_path / "three", "Frobnicate")
    product(tmp_path / "apart.onnx", location="apart.bin")
    (tmp_path / "apart.bin").unlink()
    check_refuses(Onnx(path=tmp_path / "apart.onnx"), tmp_path / "four", "apart.bin", "No such file")


@pytest.mark.parametrize("blocked", ["torch", "transformers"])
def test_works_without(blocked: str, tmp_path: Path) -> None:
    product(tmp_path / "product.onnx")
    (tmp_path / "model").mkdir()
    code = f"""
import sys
from pathlib import Path
sys.modules[{blocked!r}] = None
from farthing.errors import ModelError
from farthing.model_sources.onnx import Onnx
from farthing.runtimes.onnxruntime import OnnxRuntime
pipeline = Onnx(path=Path("product.onnx")).snapshot(Path("model"), trust=False)
assert OnnxRuntime().open(pipeline, threads=1, streams=1)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_an_output_that_is_no_tensor_is_named_with_what_to_do(tmp_path):
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    model = to_onnx(LogisticRegression().fit(x, np.arange(20) % 2), x[:1])
    path = tmp_path / "zipmap.onnx"
    path.write_bytes(model.SerializeToString())
    (tmp_path / "snapshot").mkdir()
    with pytest.raises(ModelError, match=r"output_probability is a seq.*zipmap"):
        Onnx(path=path).snapshot(tmp_path / "snapshot", trust=False)
