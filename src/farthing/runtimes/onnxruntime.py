"""Runtime: ONNX Runtime with every graph optimization. Its idle threads sleep, so a parked session costs nothing."""

from dataclasses import dataclass
from typing import ClassVar

from farthing.forms import onnx_form
from farthing.results import Profile
from farthing.runtimes.base import Runtime, Session, amdahl
from farthing.types import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRuntime(Runtime):
    """Streams are concurrent calls of one session: each works on its caller's thread and on a pool that they share."""

    accepts: ClassVar[frozenset[str]] = frozenset({"onnx"})
    devices: ClassVar[frozenset[str]] = frozenset({"cpu", "cuda"})
    run_on: ClassVar[frozenset[str]] = frozenset({"cpu"})
    native: ClassVar[frozenset[str]] = frozenset({"onnx"})

    def open(self, pipeline: Pipeline, *, threads: int, streams: int, device_kind: str = "cpu") -> Session:
        num_threads = 1 if threads == 1 else threads * streams  # of one thread each, callers need no pool
        return onnx_form.OnnxSession(pipeline.path, threads=num_threads, device_kind=device_kind)

    def snippet(self, pipeline: Pipeline) -> str:
        return f"""\
import onnxruntime
session = onnxruntime.InferenceSession({pipeline.file!r}, providers=["CPUExecutionProvider"])
outputs = session.run({[spec.name for spec in pipeline.outputs]!r}, feeds)
"""

    def predicted_speedup(self, profile: Profile) -> float:
        return amdahl(profile, kernels=1.1, overhead=3.0)
