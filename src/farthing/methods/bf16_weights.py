"""Method: a torch module wholly in bfloat16, weights too: half the bytes, no casts on the way, coarser norms and softmax."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from farthing import pipeline as pipelines
from farthing.methods.base import WEIGHTED, Method, amdahl, slower_peak
from farthing.results import Profile
from farthing.types import Context, Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Bf16Weights(Method):
    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"bf16"})
    drops: ClassVar[frozenset[str]] = frozenset({"float_weights"})

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        from farthing.forms import torch_form
        from farthing.forms.torch_precision import Bfloat16

        directory.mkdir(parents=True, exist_ok=True)
        file = torch_form.save(Bfloat16(torch_form.load(source)), directory)
        return pipelines.derive(source, directory, form=source.form, file=file, traits=source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return slower_peak(profile, "bfloat16") or (cls(),)

    def predicted_speedup(self, profile: Profile) -> float:
        return amdahl(profile, WEIGHTED | {"matmul", "attention"}, "bfloat16")
