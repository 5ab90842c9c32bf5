"""An ONNX file, optimized as it is. Needs no torch."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from farthing.errors import BuildError, MissingExtra, ModelError
from farthing.forms import onnx_form
from farthing.forms.probing import outputs_of
from farthing.model_sources.base import TOKENIZER, USUAL_LENGTH, ModelSource, inside, text_example, text_inputs, write_tokenizer
from farthing.pipeline import synthetic, write
from farthing.types import Pipeline, TensorSpec

DTYPES = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool"}  # the others are named as in NumPy
QUANTIZED = ("QuantizeLinear", "Integer", "QLinear", "QAttention", "NBits")  # parts of operators' names


@dataclass(frozen=True, slots=True, kw_only=True)
class Onnx(ModelSource):
    """The first axis of every input is the batch and must be dynamic. `tokenizer` makes it a text model."""

    path: Path  # the .onnx file
    tokenizer: Path | None = None  # a tokenizer.json, or the folder that holds it
    max_length: int | None = None  # in tokens; needed with a tokenizer
    pad_id: int | None = None  # None: the tokenizer's own
    sizes: Mapping[str, int] = field(default_factory=dict)  # fixes other dynamic axes by name, e.g. {height = 224}

    def check(self, *, trust: bool) -> None:
        if (self.tokenizer is None) != (self.max_length is None):
            raise ModelError("tokenizer and max_length go together: a text model needs both, any other neither")
        if self.pad_id is not None and self.tokenizer is None:
            raise ModelError("pad_id has no effect without a tokenizer: remove it, or add tokenizer and max_length")
        if self.path.is_dir():
            raise ModelError(f"{self.path} is a folder: name the .onnx file in it{inside(self.path, '*.onnx')}")

    @property
    def reads(self) -> Literal["texts", "numbers"]:
        return "numbers" if self.tokenizer is None else "texts"

    def questions(self) -> Mapping[str, Any]:
        """A text model is known by the names of its inputs, where the library that reads them is installed."""
        try:
            import onnx
        except ImportError:
            return {}
        graph = onnx.load(self.path, load_external_data=False).graph
        if "input_ids" not in {value.name for value in graph.input}:
            return {}
        beside = self.path.parent / TOKENIZER
        return {"tokenizer": str(beside) if beside.is_file() else "", "max_length": USUAL_LENGTH}

    def snapshot(self, directory: Path, *, trust: bool) -> Pipeline:
        self.check(trust=trust)
        graph = _copied(self.path, directory)
        try:
            session = onnx_form.OnnxSession(directory / onnx_form.FILE, threads=1)
            nodes = session.session.get_inputs()
            draft = self._draft(nodes, _traits(graph), directory)
            example = text_example(directory, draft.inputs) if self.tokenizer else synthetic(draft, 2, 1)
            names = [_tensor_name(self.path, node) for node in session.session.get_outputs()]
            return write(replace(draft, outputs=outputs_of(session.run, example, draft.inputs, names)))
        except BuildError as error:
            raise ModelError(f"{self.path}: {error}") from error

    def _draft(self, nodes: list[Any], traits: frozenset[str], directory: Path) -> Pipeline:
        pad_id = 0
        if self.tokenizer is None:
            inputs = tuple(self._input(node) for node in nodes)
        else:
            _, pad_id = write_tokenizer(self.tokenizer, directory)
            inputs = text_inputs([node.name for node in nodes])
        return Pipeline(
            directory=directory,
            form="onnx",
            file=onnx_form.FILE,
            inputs=inputs,
            outputs=(),
            traits=traits,
            tokenizer=None if self.tokenizer is None else TOKENIZER,
            max_length=self.max_length,
            pad_id=pad_id if self.pad_id is None else self.pad_id,
        )

    def _input(self, node: Any) -> TensorSpec:
        batch, *others = node.shape or [None]
        if isinstance(batch, int) or not node.shape:
            axes = " x ".join(map(str, node.shape)) or "no axes"
            raise ModelError(f"{self.path}: input {node.name} is {axes}; export it with a dynamic first axis")
        for number, axis in enumerate(others, start=2):
            if not axis:
                raise ModelError(
                    f"{self.path}: axis {number} of input {node.name} has neither size nor name; export it with one"
                )
            if not isinstance(axis, int) and axis not in self.sizes:
                raise ModelError(
                    f"{self.path}: axis {axis!r} of input {node.name} has no size; give sizes = {{ {axis} = ... }}"
                )
        element = node.type.removeprefix("tensor(").removesuffix(")")
        shape: tuple[int | str, ...] = ("batch", *(axis if isinstance(axis, int) else self.sizes[axis] for axis in others))
        return TensorSpec(name=node.name, dtype=DTYPES.get(element, element), shape=shape)


def _tensor_name(path: Path, node: Any) -> str:
    if not node.type.startswith("tensor("):
        raise ModelError(
            f"{path}: output {node.name} is a {node.type}, not a tensor; export the model with plain tensors "
            "(skl2onnx: options={'zipmap': False})"
        )
    return str(node.name)


def _copied(path: Path, directory: Path) -> Any:
    """The graph of the file, after copying it with the files that hold its weights."""
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtra("onnx", "onnx") from error
    try:
        graph = onnx.load(path, load_external_data=False).graph
        shutil.copy(path, directory / onnx_form.FILE)
        for name in {entry.value for t in onnx_form.tensors(graph) for entry in t.external_data if entry.key == "location"}:
            if not (directory / name).resolve().is_relative_to(directory.resolve()):
                raise ModelError(f"{path} reads weights from {name!r}, outside its folder: refused")
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path.parent / name, directory / name)
    except OSError as error:
        raise ModelError(f"{error.filename or path} cannot be read: {error.strerror or error}") from error
    except DecodeError as error:
        raise ModelError(f"{path} is not an ONNX file: {error}") from error
    return graph


def _traits(graph: Any) -> frozenset[str]:
    import onnx

    if any(mark in node.op_type for node in graph.node for mark in QUANTIZED):
        return frozenset({"int8"})
    weights = {t.data_type for t in onnx_form.tensors(graph) if len(t.dims) > 1}
    half = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    return frozenset() if weights & half else frozenset({"float_weights"})
