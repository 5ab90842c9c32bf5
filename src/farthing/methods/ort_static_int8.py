"""Method: int8 weights and activations with ranges fixed by calibration, by ONNX Runtime."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from farthing import pipeline as pipelines
from farthing.forms.onnx_form import FILE
from farthing.methods.base import WEIGHTED, Method, amdahl, calibration, keeps, kept_in_float, slower_peak
from farthing.results import Profile
from farthing.types import Context, Feeds, Pipeline

LINEAR = frozenset({"MatMul", "Gemm"})
ATTENTION = LINEAR | {"Gather"}  # all that is quantized where there is attention: the least value of its mask ruins any range
OTHER = LINEAR | {"Conv", "Gather", "Relu", "Clip", "Add", "Concat", "MaxPool", "GlobalAveragePool"}
REQUANTIZING_SHARE = (
    0.35  # of the original's time goes into quantizing activations between operators: fitted to MiniLM, 2026-11
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrtStaticInt8(Method):
    """x ~= s (round(x / s) - z): weights int8, symmetric, per output channel; activations uint8, one range per tensor, MinMax.

    What a MatMul or Gemm puts out stays in float: rounding it again cost most of the quality and won no time.
    keep_float: this many layers, the most sensitive, stay as they are.
    reduce_range: 7-bit weights, for CPUs without VNNI or AMX, whose int16 sums overflow.
    """

    keep_float: int = 0
    reduce_range: bool = False

    consumes: ClassVar[frozenset[str]] = frozenset({"onnx"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"int8"})
    drops: ClassVar[frozenset[str]] = frozenset({"float_weights"})

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        from farthing.forms import onnx_quantization

        batches = calibration(context)
        with onnx_quantization.prepared(source) as path:
            import onnx
            from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

            graph = onnx.load(path).graph
            op_types = ATTENTION if _has_attention(graph) else OTHER
            kept = kept_in_float(self.keep_float, context, onnx_quantization.places(graph, op_types))
            directory.mkdir(parents=True, exist_ok=True)
            quantize_static(
                path,
                directory / FILE,
                _Reader(batches),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=sorted(op_types),
                per_channel=True,
                reduce_range=self.reduce_range,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=kept,
                extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": sorted(LINEAR)},
            )
        onnx_quantization.check_int8(directory / FILE)
        traits = source.traits - self.drops | self.adds
        return pipelines.derive(source, directory, form=source.form, file=FILE, traits=traits)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return slower_peak(profile, "int8") or tuple(cls(keep_float=n) for n in keeps(profile))

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0 / (1.0 / amdahl(profile, WEIGHTED, "int8", kept=self.keep_float) + REQUANTIZING_SHARE)


class _Reader:
    """ONNX Runtime's CalibrationDataReader: the next batch at every call, None at the end."""

    def __init__(self, batches: tuple[Feeds, ...]) -> None:
        self._batches: Iterator[Feeds] = iter(batches)

    def get_next(self) -> Feeds | None:
        return next(self._batches, None)


def _has_attention(graph: Any) -> bool:
    """A softmax whose result is multiplied by something, or an operator that has both inside."""
    multiplied = {name for node in graph.node if node.op_type == "MatMul" for name in node.input}
    return any(
        "Attention" in node.op_type or (node.op_type == "Softmax" and multiplied.intersection(node.output))
        for node in graph.node
    )
