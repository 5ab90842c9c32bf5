"""Runtime: OpenVINO on the CPU. One stream is tuned for latency, several for throughput; bf16 only where the traits say so."""

from dataclasses import dataclass
from typing import ClassVar

from farthing.errors import BuildError
from farthing.forms import openvino_form
from farthing.forms.few_shapes import LENGTH_STEP
from farthing.results import Profile
from farthing.runtimes.base import Runtime, Session, amdahl
from farthing.types import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVino(Runtime):
    accepts: ClassVar[frozenset[str]] = frozenset({"openvino"})
    run_on: ClassVar[frozenset[str]] = frozenset({"cpu"})
    length_step: ClassVar[int] = LENGTH_STEP

    def open(self, pipeline: Pipeline, *, threads: int, streams: int, device_kind: str = "cpu") -> Session:
        if device_kind != "cpu":
            raise BuildError(
                f"the runtime openvino runs on cpu, not on {device_kind!r}: use onnxruntime or torch_compile there"
            )
        return openvino_form.OpenVinoSession(pipeline, threads=threads, streams=streams)

    def snippet(self, pipeline: Pipeline) -> str:
        precision = openvino_form.precision(pipeline)
        return f"""\
import openvino
model = openvino.Core().compile_model({pipeline.file!r}, "CPU", {{"INFERENCE_PRECISION_HINT": {precision!r}}})
answer = model(feeds)
outputs = [answer[name] for name in {[spec.name for spec in pipeline.outputs]!r}]
"""

    def predicted_speedup(self, profile: Profile) -> float:
        return amdahl(profile, kernels=1.2, overhead=3.0)
