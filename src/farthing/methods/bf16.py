"""Method: matrix products in bfloat16, everything sensitive to rounding in float32."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from farthing import pipeline as pipelines
from farthing.methods.base import WEIGHTED, Method, amdahl, slower_peak
from farthing.results import Profile
from farthing.types import Context, Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Bf16(Method):
    """torch: autocast. openvino: the graph stays as it is, and the trait asks its runtime for bfloat16 inference.

    After an int8 method it speeds up what that left in float.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"torch", "openvino"})
    adds: ClassVar[frozenset[str]] = frozenset({"bf16"})
    drops: ClassVar[frozenset[str]] = frozenset({"float_weights"})

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        traits = source.traits - self.drops | self.adds
        if source.form == "openvino":
            shutil.copytree(source.directory, directory, dirs_exist_ok=True)
            return pipelines.derive(source, directory, form=source.form, file=source.file, traits=traits)
        from farthing.forms import torch_form
        from farthing.forms.torch_precision import Autocast

        directory.mkdir(parents=True, exist_ok=True)
        file = torch_form.save(Autocast(torch_form.load(source)), directory)
        return pipelines.derive(source, directory, form=source.form, file=file, traits=traits)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return slower_peak(profile, "bfloat16") or (cls(),)

    def predicted_speedup(self, profile: Profile) -> float:
        return amdahl(profile, WEIGHTED | {"matmul", "attention"}, "bfloat16")
