"""Method: int8 weights and activations with ranges fixed by calibration, SmoothQuant where there is attention, by NNCF."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from farthing import pipeline as pipelines
from farthing.errors import BuildError, MissingExtra
from farthing.forms.openvino_form import FILE
from farthing.methods.base import WEIGHTED, Method, amdahl, calibration, keeps, kept_in_float, slower_peak
from farthing.results import Profile
from farthing.types import Context, Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class NncfInt8(Method):
    """Weights symmetric per output channel; activations one range per tensor, with bias correction; all by `nncf.quantize`.

    smooth_quant: alpha of SmoothQuant (arXiv 2211.10438, eq. 4), s_j = max|x_j|**alpha / max|w_j|**(1 - alpha): activations
    are divided and weights multiplied by s_j, so that outliers of x need no wider range. None: off.
    keep_float: this many layers, the most sensitive, stay as they are.
    """

    smooth_quant: float | None = 0.8
    keep_float: int = 0

    consumes: ClassVar[frozenset[str]] = frozenset({"openvino"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"int8"})
    drops: ClassVar[frozenset[str]] = frozenset({"float_weights"})

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        try:
            import nncf
            import openvino
        except ImportError as error:
            raise MissingExtra("nncf", "openvino") from error
        nncf.set_log_level(logging.ERROR)
        batches = calibration(context)
        model = openvino.Core().read_model(source.path)
        places = {op.get_friendly_name(): op.get_friendly_name() for op in model.get_ops() if _weighted(op)}
        alpha = -1 if self.smooth_quant is None else self.smooth_quant
        quantized = nncf.quantize(
            model,
            nncf.Dataset(batches),
            subset_size=len(batches),
            model_type=nncf.ModelType.TRANSFORMER if _has_attention(model) else None,
            ignored_scope=nncf.IgnoredScope(names=kept_in_float(self.keep_float, context, places)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=alpha)
            ),
        )
        directory.mkdir(parents=True, exist_ok=True)
        openvino.save_model(quantized, directory / FILE, compress_to_fp16=False)
        _check_int8(openvino.Core().read_model(directory / FILE))
        traits = source.traits - self.drops | self.adds
        return pipelines.derive(source, directory, form=source.form, file=FILE, traits=traits)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return slower_peak(profile, "int8") or tuple(cls(keep_float=n) for n in keeps(profile))

    def predicted_speedup(self, profile: Profile) -> float:
        return amdahl(profile, WEIGHTED, "int8", kept=self.keep_float)


def _weighted(op: Any) -> bool:
    return op.get_type_name() in ("MatMul", "Convolution", "GroupConvolution")


def _has_attention(model: Any) -> bool:
    """Then NNCF must leave masks and scores alone: a range that holds the mask's least value holds nothing else."""
    for op in model.get_ops():
        if op.get_type_name() == "ScaledDotProductAttention":
            return True
        if op.get_type_name() == "Softmax":
            readers = [port.get_node().get_type_name() for port in op.output(0).get_target_inputs()]
            if "MatMul" in readers:
                return True
    return False


def _check_int8(model: Any) -> None:
    constants = (op for op in model.get_ops() if op.get_type_name() == "Constant")
    if not any(op.get_element_type().get_type_name() in ("i8", "u8") and len(op.shape) > 1 for op in constants):
        raise BuildError("no MatMul or Convolution with constant float weights is left to quantize. Drop this step.")
