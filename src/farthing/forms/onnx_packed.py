"""Packed weights in an ONNX graph: MatMulNBits, an operator of ONNX Runtime that decodes inside the product."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from farthing.types import Array

HALF_BYTE, BYTE = 4, 8  # bits
SMALLEST_BLOCK, LARGEST_BLOCK = 16, 256  # the operator's: blocks of inputs are powers of two
DOMAIN = "com.microsoft"
INT8_ACTIVATIONS = 4  # accuracy_level of MatMulNBits: inputs are rounded to 8 bits, block by block, on the way


def keep_packed(path: Path, tensors: Mapping[str, Any]) -> int:
    """Put codes in the place of the float weights of linear layers in the file at `path`; how many layers that are.

    `tensors`: name of a parameter -> its `PackedTensor`. A weight of the graph is known by its values, since exporters rename
    and turn it. Layers stay in float whose levels are no affine grid, or whose groups are no multiple of a block.
    """
    import onnx

    model = onnx.load(path)
    weights = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) == 2}
    fitting = [tensor for tensor in tensors.values() if tensor.levels is None and _block(tensor) >= SMALLEST_BLOCK]
    by_value = {_digest(tensor.decode().numpy()): tensor for tensor in fitting}
    nodes, num_kept = list[Any](), 0
    for node in model.graph.node:
        weight = weights.get(node.input[1]) if _is_product(node) else None
        tensor = None if weight is None else by_value.get(_digest(_turned(node, onnx.numpy_helper.to_array(weight))))
        if tensor is not None:
            nodes += _product(node, tensor, model.graph)
            num_kept += 1
        else:
            nodes.append(node)
    if num_kept:
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        _sweep(model.graph)
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
        onnx.save(model, path)
    return num_kept


def round_activations(path: Path) -> None:
    """Let the products with packed weights round their inputs to 8 bits: that is what ONNX Runtime has fast kernels for."""
    import onnx

    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            node.attribute.append(onnx.helper.make_attribute("accuracy_level", INT8_ACTIVATIONS))
    onnx.save(model, path)


def _is_product(node: Any) -> bool:
    """Whether it is x W, with at most a bias."""
    return (
        node.op_type in ("MatMul", "Gemm")
        and all(attribute.f == 1.0 for attribute in node.attribute if attribute.name in ("alpha", "beta"))
        and not any(attribute.i for attribute in node.attribute if attribute.name == "transA")
    )


def _turned(node: Any, weight: Array) -> Array:
    """(outputs, inputs), as a linear layer has it."""
    turned: Array = weight if any(attribute.i for attribute in node.attribute if attribute.name == "transB") else weight.T
    return turned


def _digest(weight: Array) -> tuple[tuple[int, ...], bytes]:
    return weight.shape, hashlib.sha256(weight.tobytes()).digest()


def _block(tensor: Any) -> int:
    """The largest power of two that divides a group, and that the operator knows."""
    if len(tensor.shape) != 2 or tensor.shape[1] % tensor.scale.shape[1]:
        return 1
    size = tensor.shape[1] // tensor.scale.shape[1]
    return min(int(size & -size), LARGEST_BLOCK)


def _product(node: Any, tensor: Any, graph: Any) -> list[Any]:
    """MatMulNBits in the place of `node`, and what is added to it: a Gemm's bias, and what whole offsets leave over.

    The operator is fast with whole offsets only (with others it decodes the weight first, which takes some ten times as long):
    (codes - zero) scale x = (codes - whole) scale x + (whole - zero) scale sum(x over each group). Constants go into `graph`.
    """
    import numpy as np

    num_outputs, num_inputs = tensor.shape
    bits = BYTE if tensor.bits > HALF_BYTE else HALF_BYTE
    block = _block(tensor)
    scale_OG = _spread(tensor.scale.float().numpy(), tensor, block)
    zero_OG = _spread(np.zeros((1, 1)) if tensor.zero is None else tensor.zero.float().numpy(), tensor, block)
    whole_OG = zero_OG.round().clip(0, 2**bits - 1)
    codes_OGS = tensor.codes().numpy().reshape(num_outputs, -1, block)
    constants = [
        _constant(graph, f"{node.name}/codes", _in_bytes(codes_OGS, bits)),
        _constant(graph, f"{node.name}/scales", scale_OG),
        _constant(graph, f"{node.name}/zeros", _in_bytes(whole_OG.astype(np.uint8), bits)),
    ]
    attributes = {"K": num_inputs, "N": num_outputs, "bits": bits, "block_size": block, "domain": DOMAIN}
    made = [_node("MatMulNBits", [node.input[0], *constants], node.name, **attributes)]
    if (whole_OG != zero_OG).any():
        groups_IG = _constant(graph, f"groups/{num_inputs}/{block}", np.eye(num_inputs // block).repeat(block, axis=0))
        rest_GO = _constant(graph, f"{node.name}/rest", ((whole_OG - zero_OG) * scale_OG).T)
        made += [_node("MatMul", [node.input[0], groups_IG], f"{node.name}/sums")]
        made += [_node("MatMul", [made[-1].output[0], rest_GO], f"{node.name}/offsets")]
        made += [_node("Add", [made[0].output[0], made[-1].output[0]], f"{node.name}/whole")]
    if len(node.input) > 2:
        made += [_node("Add", [made[-1].output[0], node.input[2]], f"{node.name}/bias")]
    made[-1].output[0] = node.output[0]
    return made


def _node(kind: str, inputs: list[str], name: str, **attributes: Any) -> Any:
    import onnx

    return onnx.helper.make_node(kind, inputs, [f"{name}/{kind}_output"], name, **attributes)


def _constant(graph: Any, name: str, value: Array) -> str:
    """The name of a constant of `graph`, added where it is not there yet."""
    import numpy as np
    import onnx

    if all(tensor.name != name for tensor in graph.initializer):
        kind = np.uint8 if value.dtype == np.uint8 else np.float32
        graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value, kind), name))
    return name


def _spread(values: Array, tensor: Any, block: int) -> Array:
    """(o, blocks): one value for each block, where there was one for each group, or fewer."""
    import numpy as np

    num_outputs, num_inputs = tensor.shape
    groups = tensor.scale.shape[1]
    repeats = num_inputs // block // groups
    return np.broadcast_to(values, (num_outputs, groups)).repeat(repeats, axis=1)


def _in_bytes(codes: Array, bits: int) -> Array:
    """uint8: two codes of 4 bits a byte along the last axis, the first in the low half."""
    import numpy as np

    if bits == BYTE:
        return codes
    padded = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, codes.shape[-1] % 2)])
    return np.asarray(padded[..., ::2] | padded[..., 1::2] << HALF_BYTE)


def _sweep(graph: Any) -> None:
    """Drop the constants that no node reads any more."""
    read = set(_names_read(graph.node)) | {output.name for output in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _names_read(nodes: Iterable[Any]) -> Iterable[str]:
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _names_read(attribute.g.node)
