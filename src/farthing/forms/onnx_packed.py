"""Packed weights in an ONNX graph: MatMulNBits, an operator of ONNX Runtime's that reads codes and decodes inside the product."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from farthing.types import Array

HALF_BYTE, BYTE = 4, 8  # bits
SMALLEST_BLOCK = 16  # the operator's: blocks of inputs are powers of two
DOMAIN = "com.microsoft"
INT8_ACTIVATIONS = 4  # accuracy_level of MatMulNBits: inputs are rounded to 8 bits, block by block, on the way


def keep_packed(path: Path, tensors: Mapping[str, Any]) -> int:
    """Put codes in the place of the float weights of linear layers in the file at `path`; how many layers that are.

    `tensors`: name of a parameter inside the `Packed` module -> its `PackedTensor`. Layers stay in float whose levels are no
    affine grid, or whose groups are no multiple of a block.
    """
    import onnx

    model = onnx.load(path)
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    by_place = {f"module.{name.removesuffix('.weight')}": tensor for name, tensor in tensors.items()}
    nodes, num_kept = list[Any](), 0
    for node in model.graph.node:
        tensor = by_place.get(node.name.replace("/", ".").strip(".").rpartition(".")[0])
        if tensor is not None and _is_product(node, weights, tensor) and _block(tensor) >= SMALLEST_BLOCK:
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
    """Let the products with packed weights round their inputs to 8 bits."""
    import onnx

    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            node.attribute.append(onnx.helper.make_attribute("accuracy_level", INT8_ACTIVATIONS))
    onnx.save(model, path)


def _is_product(node: Any, weights: Mapping[str, tuple[int, ...]], tensor: Any) -> bool:
    """Whether this node multiplies by that weight, which exporters write either way round."""
    return (
        node.op_type in ("MatMul", "Gemm")
        and tensor.levels is None
        and weights.get(node.input[1]) in (tuple(tensor.shape), tuple(reversed(tensor.shape)))
        and all(attribute.f == 1.0 for attribute in node.attribute if attribute.name in ("alpha", "beta"))
        and not any(attribute.i for attribute in node.attribute if attribute.name == "transA")
    )


def _block(tensor: Any) -> int:
    """The largest power of two that divides a group."""
    size = tensor.shape[1] // tensor.scale.shape[1] if tensor.shape[1] % tensor.scale.shape[1] == 0 else 1
    return int(size & -size)


def _product(node: Any, tensor: Any, graph: Any) -> list[Any]:
    """MatMulNBits in the place of `node`; and its bias, where a Gemm has one. Adds the constants to `graph`."""
    import numpy as np
    import onnx

    num_outputs, num_inputs = tensor.shape
    bits = BYTE if tensor.bits > HALF_BYTE else HALF_BYTE
    block, groups = _block(tensor), tensor.scale.shape[1]
    repeats = num_inputs // block // groups
    scale = np.repeat(np.broadcast_to(tensor.scale.float().numpy(), (num_outputs, groups)), repeats, axis=1)
    zero = np.zeros((1, 1)) if tensor.zero is None else tensor.zero.float().numpy()
    zero = np.repeat(np.broadcast_to(zero, (num_outputs, groups)), repeats, axis=1).astype(np.float32)
    whole = bool((zero == zero.round()).all() and zero.min() >= 0 and zero.max() < 2**bits)
    codes = _in_bytes(tensor.codes().numpy().reshape(num_outputs, -1, block), bits)
    constants = {"codes": codes, "scales": scale, "zeros": _in_bytes(zero.astype(np.uint8), bits) if whole else zero}
    names = [f"{node.name}/{name}" for name in constants]
    pairs = zip(names, constants.values(), strict=True)
    graph.initializer.extend(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in pairs)
    has_bias = len(node.input) > 2
    product = onnx.helper.make_node(
        "MatMulNBits", [node.input[0], *names], [f"{node.name}/product"] if has_bias else [node.output[0]], node.name,
        domain=DOMAIN, K=num_inputs, N=num_outputs, bits=bits, block_size=block,
    )  # fmt: skip
    if not has_bias:
        return [product]
    return [product, onnx.helper.make_node("Add", [product.output[0], node.input[2]], [node.output[0]], f"{node.name}/bias")]


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
