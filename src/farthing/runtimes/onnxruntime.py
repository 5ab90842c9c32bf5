"""Runtime: ONNX Runtime with every graph optimization. Idle threads sleep, so a parked session costs nothing."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from farthing.errors import BuildError, MissingExtra
from farthing.runtimes.base import Runtime, Session
from farthing.types import Array, Feeds, Pipeline, Profile

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxRuntime(Runtime):
    accepts: ClassVar[frozenset[str]] = frozenset({"onnx"})
    run_on: ClassVar[frozenset[str]] = frozenset({"cpu"})

    def open(self, pipeline: Pipeline, *, threads: int, streams: int, device_kind: str = "cpu") -> Session:
        """Streams are concurrent calls of one session: each runs its operators on the caller and a shared pool."""
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("onnxruntime", "onnx") from error
        provider = PROVIDERS[device_kind]
        if provider not in onnxruntime.get_available_providers():
            raise BuildError(f"this onnxruntime has no {provider}. Install onnxruntime-gpu or choose another device kind.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads * streams
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(pipeline.path, options, providers=[provider])
        except onnxruntime.capi.onnxruntime_pybind11_state.OrtException as error:
            raise BuildError(f"ONNX Runtime cannot open {pipeline.file}: {error}") from error
        return _OnnxSession(session, [spec.name for spec in pipeline.outputs])

    def snippet(self, pipeline: Pipeline) -> str:
        names = [spec.name for spec in pipeline.outputs]
        return f"""\
import onnxruntime
session = onnxruntime.InferenceSession({pipeline.file!r}, providers=["CPUExecutionProvider"])
outputs = session.run({names!r}, feeds)
"""

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.3


class _OnnxSession:
    def __init__(self, session: Any, outputs: list[str]) -> None:
        self._session, self._outputs = session, outputs

    def run(self, feeds: Feeds) -> list[Array]:
        return [_widened(value) for value in self._session.run(self._outputs, feeds)]

    def close(self) -> None:
        del self._session


def _widened(value: Array) -> Array:
    return value.astype(np.float32) if value.dtype == np.float16 else value
