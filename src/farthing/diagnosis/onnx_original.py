"""The original as an ONNX file: its batch times, and its nodes one by one from ONNX Runtime's own profile."""

import json
import tempfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any
from uuid import uuid4

from farthing.diagnosis.roofline import Call, flops, grouped, label
from farthing.diagnosis.sensitivity import Sensitivities
from farthing.errors import MissingExtra, ModelError
from farthing.types import Feeds, Pipeline

SECONDS_PER_TICK = 1e-6  # of the profile's clock
# kind -> operators of ONNX and of ONNX Runtime's own fusions, less the prefixes and suffixes in AFFIXES
KINDS = {
    "linear": "MatMul Gemm",
    "conv": "Conv",
    "conv_transpose": "ConvTranspose",
    "attention": "Attention MultiHeadAttention GroupQueryAttention",
    "norm": "LayerNormalization SimplifiedLayerNormalization SkipLayerNormalization EmbedLayerNormalization "
    "BatchNormalization InstanceNormalization GroupNormalization RMSNormalization",
    "softmax": "Softmax LogSoftmax",
    "embedding": "Gather GatherND GatherElements",
    "copy": "Concat Transpose Cast Expand Pad Split Slice Where ReorderInput ReorderOutput Tile",
    "view": "Reshape Squeeze Unsqueeze Flatten Identity Shape",
    "pool": "MaxPool AveragePool GlobalAveragePool GlobalMaxPool",
    "reduction": "ReduceMean ReduceSum ReduceMax ReduceMin ReduceL2 ArgMax TopK",
}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names.split()}
AFFIXES = ("Fused", "QLinear", "Q", "DynamicQuantize", "Dynamic", "IntegerToFloat", "Integer")
ITEM_BYTES = {"float": 4, "float16": 2, "bfloat16": 2, "double": 8, "int64": 8, "int32": 4, "int8": 1, "uint8": 1, "bool": 1}
DTYPES = {"float": "float32", "uint8": "int8"}  # ONNX Runtime's name -> the name of a ceiling


class OnnxOriginal:
    """A session per number of threads, opened as a person would: all graph optimizations. Raises MissingExtra, ModelError."""

    def __init__(self, pipeline: Pipeline, device_kind: str) -> None:
        self.pipeline, self.device_kind = pipeline, device_kind
        self.sessions: dict[int, Any] = {}
        self.traced: tuple[Any, Feeds, int] | None = None  # the profiling session, and how it was run

    def run(self, feeds: Feeds, threads: int) -> None:
        if threads not in self.sessions:
            self.sessions[threads] = self._open(threads)
        self.sessions[threads].run(None, feeds)

    def trace(self, feeds: Feeds, threads: int) -> None:
        if self.traced is None:
            self.traced = (self._open(threads, profiled=True), feeds, threads)
        self.traced[0].run(None, feeds)

    def timeline(self) -> tuple[Call, ...]:
        """Every node of the optimized graph in the fastest traced batch, grouped by operator and shapes.

        Prepacked weights are missing from a profile's shapes: shapes come from a second session, without prepacking.
        """
        assert self.traced is not None
        session, feeds, threads = self.traced
        unpacked = self._open(threads, profiled=True, prepack=False)
        unpacked.run(None, feeds)
        shapes = {_node(event): event["args"] for event in _runs(unpacked)[0]}
        fastest = min(_runs(session), key=lambda run: sum(event["dur"] for event in run))
        return grouped([_call(shapes[_node(event)], event["dur"] * SECONDS_PER_TICK) for event in fastest])

    def sensitivities(self, calibration: Sequence[Feeds], threads: int) -> Sensitivities:
        """None: a graph has no layers to swap; its quantizers rank the nodes themselves."""
        return Sensitivities()

    def _open(self, threads: int, *, profiled: bool = False, prepack: bool = True) -> Any:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("onnxruntime", "onnx") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_profiling = profiled
        # ONNX Runtime adds the time in ms: sessions of one millisecond would share a file
        options.profile_file_prefix = str(Path(tempfile.gettempdir()) / f"farthing_{uuid4().hex}")
        options.add_session_config_entry("session.disable_prepacking", "0" if prepack else "1")
        provider = "CUDAExecutionProvider" if self.device_kind == "cuda" else "CPUExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise ModelError(f"this onnxruntime has no {provider}: install onnxruntime-gpu, or diagnose on the CPU")
        return onnxruntime.InferenceSession(str(self.pipeline.path), options, providers=[provider])


def _runs(session: Any) -> list[list[dict[str, Any]]]:
    """The node events of each run of a profiled session, which ends here."""
    file = Path(session.end_profiling())
    events = json.loads(file.read_text())
    file.unlink()
    nodes = [e for e in events if e["cat"] == "Node" and e["name"].endswith("_kernel_time")]
    runs = [e for e in events if e["name"] == "model_run"]
    return [[node for node in nodes if run["ts"] <= node["ts"] <= run["ts"] + run["dur"]] for run in runs]


def _node(event: dict[str, Any]) -> tuple[str, str]:
    """Names may be empty, indexes are unique: both sessions optimize the graph alike."""
    return event["name"], event["args"]["node_index"]


def _call(facts: dict[str, Any], seconds: float) -> Call:
    """`facts` are the arguments of a node's event: operator, types and shapes of inputs and outputs."""
    operator = facts["op_name"]
    inputs, outputs = _tensors(facts.get("input_type_shape")), _tensors(facts.get("output_type_shape"))
    kind = _kind(operator, [shape for _, shape in inputs])
    operands = [shape for _, shape in _operands(operator, inputs)]
    results = [shape for _, shape in outputs]
    touched = outputs * 2 if kind == "embedding" else [] if kind == "view" else inputs + outputs
    return Call(
        name=label(operator, operands, results),
        kind=kind,
        seconds=seconds,
        flops=_attention(operands) if operator == "Attention" else flops(kind, operands, results),
        bytes=float(sum(ITEM_BYTES.get(dtype, 4) * prod(shape) for dtype, shape in touched)),
        dtype=_dtype(operator, inputs),
    )


def _tensors(facts: list[dict[str, list[int]]] | None) -> list[tuple[str, tuple[int, ...]]]:
    return [(dtype, tuple(shape)) for entry in facts or [] for dtype, shape in entry.items()]


def _kind(operator: str, shapes: list[tuple[int, ...]]) -> str:
    base = operator
    for affix in AFFIXES:
        base = base.removeprefix(affix).removesuffix(affix)
    kind = KIND_OF.get(base, "elementwise")
    products_of_stacks = kind == "linear" and len(shapes) > 1 and all(len(shape) > 2 for shape in shapes[:2])
    return "matmul" if products_of_stacks else kind


def _operands(operator: str, inputs: list[tuple[str, tuple[int, ...]]]) -> list[tuple[str, tuple[int, ...]]]:
    """Without the scales and zero points that stand between the two operands of a QLinear operator."""
    return inputs[0:1] + inputs[3:4] if operator.startswith("QLinear") else inputs


def _dtype(operator: str, inputs: list[tuple[str, tuple[int, ...]]]) -> str:
    if operator.startswith(("DynamicQuantize", "QLinear")) or not inputs:
        return "int8" if inputs else "float32"
    return DTYPES.get(inputs[0][0], inputs[0][0])


def _attention(operands: list[tuple[int, ...]]) -> float:
    """com.microsoft.Attention projects (B, L, H) by (H, 3 H) and attends."""
    (batch, length, hidden), (_, projected) = operands[:2]
    return 2.0 * batch * length * hidden * projected + 4.0 * batch * length**2 * projected / 3
