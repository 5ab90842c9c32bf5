"""Method: int8 weights, and activations quantized as they come, by ONNX Runtime; needs no calibration."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from farthing import pipeline as pipelines
from farthing.forms.onnx_form import FILE
from farthing.methods.base import Method, amdahl, keeps, kept_in_float, slower_peak
from farthing.results import Profile
from farthing.types import Context, Pipeline

OP_TYPES = frozenset({"MatMul", "Gemm", "Gather"})  # a Conv in dynamic int8 (ConvInteger) has no fast kernel on a CPU
REQUANTIZING_SHARE = 0.2  # of the original's time goes into finding ranges and rescaling: fitted to MiniLM, 2026-11


@dataclass(frozen=True, slots=True, kw_only=True)
class OrtDynamicInt8(Method):
    """Weights symmetric per output channel, w ~= s round(w / s), s = max|w| / 127; one scale per activation tensor and call.

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

        with onnx_quantization.prepared(source) as path:
            import onnx
            from onnxruntime.quantization import QuantType, quantize_dynamic

            graph = onnx.load(path).graph
            kept = kept_in_float(self.keep_float, context, onnx_quantization.places(graph, OP_TYPES))
            directory.mkdir(parents=True, exist_ok=True)
            quantize_dynamic(
                path,
                directory / FILE,
                op_types_to_quantize=sorted(OP_TYPES),
                per_channel=True,
                reduce_range=self.reduce_range,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=kept,
            )
        onnx_quantization.check_int8(directory / FILE)
        traits = source.traits - self.drops | self.adds
        return pipelines.derive(source, directory, form=source.form, file=FILE, traits=traits)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return slower_peak(profile, "int8") or tuple(cls(keep_float=n) for n in keeps(profile))

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0 / (1.0 / amdahl(profile, {"linear"}, "int8", kept=self.keep_float) + REQUANTIZING_SHARE)
