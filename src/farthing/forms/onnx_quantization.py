"""What ONNX Runtime's quantizers need: a prepared copy of the graph, the places of its operators, and a look at the result."""

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from farthing.errors import BuildError, MissingExtra
from farthing.forms.onnx_form import FILE, tensors
from farthing.types import Pipeline

NOTHING = "no MatMul, Gemm or Conv with constant float weights is left to quantize. Drop this step."
SCOPES = "pkg.torch.onnx.name_scopes"  # where torch.export's exporter notes the modules around an operator, outermost first


@contextmanager
def prepared(source: Pipeline) -> Iterator[Path]:
    """A temporary copy: shapes inferred, constants folded, batch norms fused, tables not shared.

    Raises BuildError for a graph without a product (a tree, a linear classifier), and MissingExtra.
    """
    try:
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise MissingExtra("onnxruntime", "onnx") from error
    directory, level = Path(tempfile.mkdtemp(prefix="farthing-")), logging.root.level
    try:
        logging.root.setLevel(logging.ERROR)  # the quantizers' advice goes to the root logger
        quant_pre_process(str(source.path), str(directory / FILE), skip_symbolic_shape=True)
        _check_operators(directory / FILE)
        _unshare_tables(directory / FILE)
        yield directory / FILE
    finally:
        logging.root.setLevel(level)
        shutil.rmtree(directory)


def places(graph: Any, op_types: frozenset[str]) -> dict[str, str]:
    """Name of each operator of these types -> where it comes from: its own name, and the modules that its metadata note."""
    found = {}
    for node in graph.node:
        if node.op_type in op_types:
            noted = {entry.key: entry.value for entry in node.metadata_props}
            scopes = [scope.strip(" '\"") for scope in noted.get(SCOPES, "").strip("[]").split(",")]
            found[node.name] = "/".join([node.name, *scopes])
    return found


def check_int8(path: Path) -> None:
    """Raises BuildError if no weight of the model is stored in 8 bits."""
    import onnx

    int8 = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    if not any(tensor.data_type in int8 and len(tensor.dims) > 1 for tensor in tensors(onnx.load(path).graph)):
        raise BuildError(NOTHING)


def _check_operators(path: Path) -> None:
    """A tree or a linear classifier has operators of its own, at which the quantizers stumble."""
    import onnx

    if not {node.op_type for node in onnx.load(path).graph.node} & {"MatMul", "Gemm", "Conv"}:
        raise BuildError(NOTHING)


def _unshare_tables(path: Path) -> None:
    """Give a Gather its own copy of a table that other operators read too: they need its scales along another axis."""
    import onnx

    model = onnx.load(path)
    tables = {tensor.name: tensor for tensor in model.graph.initializer}
    readers = Counter(name for node in model.graph.node for name in node.input)
    for node in model.graph.node:
        name = node.input[0] if node.op_type == "Gather" else ""
        if name in tables and readers[name] > 1:
            readers[name] -= 1
            own = model.graph.initializer.add()
            own.CopyFrom(tables[name])
            node.input[0] = own.name = f"{name}/{node.name}"
    onnx.save(model, path)
