"""Runtime: OpenVINO on the CPU. One stream is tuned for latency, several for throughput; bf16 only where the traits say so."""

from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, ClassVar

from farthing.errors import BuildError, MissingExtra
from farthing.runtimes.base import Runtime, Session
from farthing.types import Array, Feeds, Pipeline, Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVino(Runtime):
    accepts: ClassVar[frozenset[str]] = frozenset({"openvino"})
    run_on: ClassVar[frozenset[str]] = frozenset({"cpu"})

    def open(self, pipeline: Pipeline, *, threads: int, streams: int, device_kind: str = "cpu") -> Session:
        try:
            import openvino
        except ImportError as error:
            raise MissingExtra("openvino", "openvino") from error
        if device_kind != "cpu":
            raise BuildError(
                f"the runtime openvino runs on cpu, not on {device_kind!r}. Choose onnxruntime or torch_eager there."
            )
        options = {
            "INFERENCE_PRECISION_HINT": _precision(pipeline),
            "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": str(threads * streams),
        }
        try:
            model = openvino.Core().compile_model(pipeline.path, "CPU", options)
        except RuntimeError as error:
            raise BuildError(f"OpenVINO cannot compile {pipeline.file}: {error}") from error
        return _OpenVinoSession([model.create_infer_request() for _ in range(streams)], [s.name for s in pipeline.outputs])

    def snippet(self, pipeline: Pipeline) -> str:
        names = [spec.name for spec in pipeline.outputs]
        return f"""\
import openvino
options = {{"INFERENCE_PRECISION_HINT": {_precision(pipeline)!r}, "PERFORMANCE_HINT": "LATENCY"}}
model = openvino.Core().compile_model({pipeline.file!r}, "CPU", options)
answer = model(feeds)
outputs = [answer[name] for name in {names!r}]
"""

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.5


class _OpenVinoSession:
    """A request runs one call at a time; the queue hands each caller an idle one."""

    def __init__(self, requests: list[Any], outputs: list[str]) -> None:
        self._outputs, self._idle = outputs, SimpleQueue[Any]()
        for request in requests:
            self._idle.put(request)

    def run(self, feeds: Feeds) -> list[Array]:
        request = self._idle.get()
        try:
            answer = request.infer(feeds, share_inputs=True)
            return [answer[name] for name in self._outputs]
        finally:
            self._idle.put(request)

    def close(self) -> None:
        self._idle = SimpleQueue()


def _precision(pipeline: Pipeline) -> str:
    return "bf16" if "bf16" in pipeline.traits else "f32"
