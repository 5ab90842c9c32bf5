"""Method: weights in float16, half the bytes; computed in it on a GPU, decoded when it is opened on a CPU by OpenVINO."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from farthing import pipeline as pipelines
from farthing.errors import BuildError
from farthing.methods.base import WEIGHTED, Method, amdahl, bytes_are_free, slower_peak
from farthing.results import Profile
from farthing.types import Context, Pipeline

GREATEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fp16(Method):
    """w becomes the nearest of +-2^e (1 + m / 1024), e from -14 to 15 (IEEE 754-2019, binary16): off by at most 2^-11 of w.

    torch: everything is computed in it, three bits finer than bfloat16, where the device has such units. openvino: the file
    shrinks to half; the CPU plugin reads float32 from it, so that it is as fast as before. Beyond 65504 there is nothing: a
    weight that is larger is refused, and an answer that is comes out as infinity, which is turned down as a wrong output.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"torch", "openvino"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"fp16"})
    drops: ClassVar[frozenset[str]] = frozenset({"float_weights"})

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        file = _openvino(source, directory) if source.form == "openvino" else _torch(source, directory)
        return pipelines.derive(source, directory, form=source.form, file=file, traits=source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        slower, free = slower_peak(profile, "float16"), bytes_are_free(profile)
        return f"{slower}; {free}" if slower and free else (cls(),)

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0 if slower_peak(profile, "float16") else amdahl(profile, WEIGHTED | {"matmul", "attention"}, "float16")


def _torch(source: Pipeline, directory: Path) -> str:
    from farthing.forms import torch_form
    from farthing.forms.torch_precision import Float16

    module = torch_form.load(source)
    for name, weight in module.named_parameters():
        _check(name, float(weight.abs().max()) if weight.numel() else 0.0)
    directory.mkdir(parents=True, exist_ok=True)
    return torch_form.save(Float16(module), directory)


def _openvino(source: Pipeline, directory: Path) -> str:
    from farthing.forms import openvino_form

    model: Any = openvino_form.openvino().Core().read_model(source.path)
    for op in model.get_ops():
        if op.get_type_name() == "Constant" and op.get_element_type().to_string() == "f32" and op.data.size > 1:
            _check(op.get_friendly_name(), float(np.abs(op.data).max()))
    return openvino_form.save(model, source, directory, halved=True)


def _check(name: str, greatest: float) -> None:
    if greatest > GREATEST:
        raise BuildError(f"fp16: {name} holds {greatest:.4g}, and float16 ends at {GREATEST:.0f}. Use bf16 or bf16_weights.")
