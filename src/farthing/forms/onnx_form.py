"""The form `onnx`: how a file is opened by ONNX Runtime, and what its graph says; both imported late, neither needs torch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from farthing.errors import BuildError, MissingExtra
from farthing.types import Array, Feeds

FILE = "model.onnx"
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxSession:
    """One onnxruntime.InferenceSession; `run` may be called from several threads at once."""

    def __init__(self, path: Path, *, threads: int, device_kind: str = "cpu") -> None:
        """Raises BuildError if this onnxruntime cannot open the file on that kind of device, and MissingExtra."""
        runtime = _onnxruntime()
        provider = PROVIDERS.get(device_kind)
        if provider not in runtime.get_available_providers():
            raise BuildError(
                f"this onnxruntime cannot use {device_kind!r}: it has {', '.join(runtime.get_available_providers())}"
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # no errors either: they are raised, and clients must not fill the log
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a parked session costs nothing
        try:
            self.session = runtime.InferenceSession(path, options, providers=[provider])
        except _failures(runtime) as error:
            raise BuildError(f"ONNX Runtime cannot open {path.name}: {error}") from error
        self._outputs = [node.name for node in self.session.get_outputs()]
        self._failures = _failures(runtime)

    def run(self, feeds: Feeds) -> list[Array]:
        try:
            values = self.session.run(self._outputs, feeds)
        except self._failures as error:
            raise BuildError(
                f"ONNX Runtime failed on {', '.join(f'{n} {v.shape}' for n, v in feeds.items())}: {error}"
            ) from error
        return [value.astype(np.float32) if value.dtype == np.float16 else value for value in values]

    def close(self) -> None:
        del self.session


def tensors(graph: Any) -> Iterator[Any]:
    """Every constant tensor of an onnx GraphProto: its initializers, and those of its nodes' attributes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("g"):
                yield from tensors(attribute.g)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnxruntime", "onnx") from error
    return onnxruntime


def _failures(runtime: Any) -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions have no base class of their own."""
    module = runtime.capi.onnxruntime_pybind11_state
    return tuple(value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Exception))
