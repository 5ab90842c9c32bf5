"""The form `openvino`: how a graph is written and compiled; OpenVINO is imported late and needs no torch."""

from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from farthing.errors import BuildError, MissingExtra
from farthing.forms.few_shapes import FewShapes
from farthing.types import Array, Feeds, Pipeline, TensorSpec

FILE = "model.xml"
HALF_BYTE = 4  # bits
WEIGHT_INPUTS = {"MatMul": 1, "Convolution": 1, "Gather": 0}  # which input of such an operator is its weight
EXACT = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


class OpenVinoSession:
    """`streams` infer requests of one compiled graph: a request serves one call at a time, a queue hands out the idle ones.

    The CPU plugin prepares itself for each shape that it meets, once: MiniLM in int8 takes 8 ms and 4 MB for it, and then no
    less time for 9 tokens than for 16 (docs/log.md, 2026-11-26). So it meets few.
    """

    def __init__(self, pipeline: Pipeline, *, threads: int, streams: int, exact: bool = False) -> None:
        """Raises BuildError if OpenVINO cannot compile the graph, and MissingExtra.

        Where weights are packed the CPU plugin rounds activations to 8 bits in groups on the way, unless it is to be `exact`.
        """
        settings = options(pipeline, threads=threads, streams=streams) | (EXACT if exact else {})
        try:
            compiled = openvino().Core().compile_model(pipeline.path, "CPU", settings)
        except RuntimeError as error:
            raise BuildError(f"OpenVINO cannot compile {pipeline.file}: {error}") from error
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(streams):
            self._idle.put(compiled.create_infer_request())
        self._outputs = [spec.name for spec in pipeline.outputs]
        self._shapes = FewShapes(pipeline)

    def run(self, feeds: Feeds) -> list[Array]:
        request = self._idle.get()
        try:
            answer = request.infer(self._shapes.padded(feeds), share_inputs=True)
            return self._shapes.cut([answer[name] for name in self._outputs], feeds)
        except RuntimeError as error:
            raise BuildError(f"OpenVINO failed on {', '.join(f'{n} {v.shape}' for n, v in feeds.items())}: {error}") from error
        finally:
            self._idle.put(request)

    def close(self) -> None:
        self._idle = SimpleQueue()


def options(pipeline: Pipeline, *, threads: int, streams: int) -> dict[str, str]:
    return {
        "INFERENCE_PRECISION_HINT": precision(pipeline),
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": str(threads * streams),
    }


def precision(pipeline: Pipeline) -> str:
    """bf16 only where the traits say so: OpenVINO's own default would take it silently on processors that have it."""
    return "bf16" if "bf16" in pipeline.traits else "f32"


def save(model: Any, source: Pipeline, directory: Path, *, halved: bool = False) -> str:
    """Write an openvino.Model with the axes of `source.inputs`, and the names of its inputs and outputs; name the file.

    `halved`: float32 weights as float16.
    """
    ov = openvino()
    model.reshape({port: ov.PartialShape(_sizes(spec)) for port, spec in zip(model.inputs, source.inputs, strict=True)})
    for spec, port in zip((*source.inputs, *source.outputs), (*model.inputs, *model.outputs), strict=True):
        port.get_tensor().set_names({spec.name})
    directory.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, directory / FILE, compress_to_fp16=halved)
    return FILE


def keep_packed(model: Any, tensors: Mapping[str, Any]) -> int:
    """Put codes in the place of float weights, as the CPU plugin reads them; how many weights that are.

    `tensors`: name of a parameter inside the `Packed` module -> its `PackedTensor`. Constant(u4 or u8) -> Convert -> Subtract
    zero -> Multiply scale -> Reshape. Those of linear layers stay in that type in memory and are decoded inside the product; of
    filters and tables only the file is known to be smaller. A filter that a batch norm was folded into is no longer what was
    packed, and stays float.
    """
    num_kept = 0
    for op in model.get_ops():
        place = WEIGHT_INPUTS.get(op.get_type_name())
        if place is None:
            continue
        weight = op.input_value(place).get_node()
        tensor = next((tensor for name, tensor in tensors.items() if _holds(op, weight, name)), None)
        if tensor is not None and tensor.levels is None and list(weight.output(0).shape) == list(tensor.shape):
            op.input(place).replace_source_output(_decoded(tensor).output(0))
            num_kept += 1
    return num_kept


def _holds(op: Any, weight: Any, name: str) -> bool:
    """Whether this operator's weight is the parameter `name`: a product is named for its layer, a constant for itself."""
    if op.get_type_name() == "MatMul":
        return str(op.get_friendly_name()).startswith(f"__module.module.{name.removesuffix('.weight')}/")
    return bool(weight.get_type_name() == "Constant" and weight.get_friendly_name() == f"self.module.{name}")


def _decoded(tensor: Any) -> Any:
    """The nodes that give a packed weight in float32."""
    from openvino import opset13 as ops

    ov = openvino()
    num_outputs, num_groups = tensor.shape[0], tensor.scale.shape[1]
    kind = ov.Type.u8 if tensor.bits > HALF_BYTE else ov.Type.u4
    codes = tensor.codes().numpy().reshape(num_outputs, num_groups, -1)
    value = ops.convert(ops.constant(codes, dtype=kind), "f32")
    if tensor.zero is not None:
        zero = tensor.zero.float().numpy()[..., None]
        whole = bool((zero == zero.round()).all() and zero.min() >= 0 and zero.max() < 2**tensor.bits)
        value = ops.subtract(value, ops.convert(ops.constant(zero, dtype=kind), "f32") if whole else ops.constant(zero))
    scale = tensor.scale.float().expand(num_outputs, -1).contiguous().numpy()
    value = ops.multiply(value, ops.constant(scale[..., None]))
    return ops.reshape(value, ops.constant(list(tensor.shape)), special_zero=False)


def openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtra("openvino", "openvino") from error
    return openvino


def failures() -> tuple[type[Exception], ...]:
    """What OpenVINO's frontends raise for a model that they cannot read."""
    from openvino import frontend

    return (
        RuntimeError,
        frontend.GeneralFailure,
        frontend.InitializationFailure,
        frontend.NotImplementedFailure,
        frontend.OpConversionFailure,
        frontend.OpValidationFailure,
    )


def _sizes(spec: TensorSpec) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in spec.shape]
