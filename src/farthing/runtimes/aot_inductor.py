"""Runtime: a package that AOTInductor compiled beforehand. Needs torch's library, but neither its compiler nor the source."""

from dataclasses import dataclass
from typing import ClassVar

from farthing.errors import BuildError
from farthing.results import Profile
from farthing.runtimes.base import Runtime, Session, amdahl
from farthing.types import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class AotInductor(Runtime):
    accepts: ClassVar[frozenset[str]] = frozenset({"aoti"})
    run_on: ClassVar[frozenset[str]] = frozenset({"cpu"})
    needs_torch: ClassVar[bool] = True

    def open(self, pipeline: Pipeline, *, threads: int, streams: int, device_kind: str = "cpu") -> Session:
        from farthing.forms import torch_form

        if device_kind != "cpu":
            raise BuildError(f"the package was compiled for cpu, not for {device_kind!r}: use torch_compile there")
        return torch_form.open_package(pipeline, threads=threads, streams=streams)

    def snippet(self, pipeline: Pipeline) -> str:
        return f"""\
import torch
model = torch._inductor.aoti_load_package({pipeline.file!r})
with torch.inference_mode():
    answer = model(*(torch.from_numpy(feeds[name]) for name in {[spec.name for spec in pipeline.inputs]!r}))
outputs = [value.float().numpy() for value in (answer if isinstance(answer, tuple | list) else (answer,))]
"""

    def predicted_speedup(self, profile: Profile) -> float:
        return amdahl(profile, kernels=1.05, overhead=4.0)
