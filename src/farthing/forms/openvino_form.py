"""The form `openvino`: how a graph is written and compiled; OpenVINO is imported late and needs no torch."""

from pathlib import Path
from queue import SimpleQueue
from typing import Any

from farthing.errors import BuildError, MissingExtra
from farthing.types import Array, Feeds, Pipeline, TensorSpec

FILE = "model.xml"


class OpenVinoSession:
    """`streams` infer requests of one compiled graph: a request serves one call at a time, a queue hands out the idle ones."""

    def __init__(self, pipeline: Pipeline, *, threads: int, streams: int) -> None:
        """Raises BuildError if OpenVINO cannot compile the graph, and MissingExtra."""
        try:
            compiled = (
                openvino().Core().compile_model(pipeline.path, "CPU", options(pipeline, threads=threads, streams=streams))
            )
        except RuntimeError as error:
            raise BuildError(f"OpenVINO cannot compile {pipeline.file}: {error}") from error
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(streams):
            self._idle.put(compiled.create_infer_request())
        self._outputs = [spec.name for spec in pipeline.outputs]

    def run(self, feeds: Feeds) -> list[Array]:
        request = self._idle.get()
        try:
            answer = request.infer(feeds, share_inputs=True)
            return [answer[name] for name in self._outputs]
        except RuntimeError as error:
            raise BuildError(f"OpenVINO failed on {', '.join(f'{n} {v.shape}' for n, v in feeds.items())}: {error}") from error
        finally:
            self._idle.put(request)

    def close(self) -> None:
        self._idle = SimpleQueue()


def options(pipeline: Pipeline, *, threads: int, streams: int) -> dict[str, str]:
    return {
        "INFERENCE_PRECISION_HINT": precision(pipeline),
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": str(threads * streams),
    }


def precision(pipeline: Pipeline) -> str:
    """bf16 only where the traits say so: OpenVINO's own default would take it silently on processors that have it."""
    return "bf16" if "bf16" in pipeline.traits else "f32"


def save(model: Any, source: Pipeline, directory: Path) -> str:
    """Write an openvino.Model with the axes of `source.inputs`, and the names of its inputs and outputs; name the file."""
    ov = openvino()
    model.reshape({port: ov.PartialShape(_sizes(spec)) for port, spec in zip(model.inputs, source.inputs, strict=True)})
    for spec, port in zip((*source.inputs, *source.outputs), (*model.inputs, *model.outputs), strict=True):
        port.get_tensor().set_names({spec.name})
    directory.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, directory / FILE, compress_to_fp16=False)
    return FILE


def openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtra("openvino", "openvino") from error
    return openvino


def failures() -> tuple[type[Exception], ...]:
    """What OpenVINO's frontends raise for a model that they cannot read."""
    from openvino import frontend

    return (
        RuntimeError,
        frontend.GeneralFailure,
        frontend.InitializationFailure,
        frontend.NotImplementedFailure,
        frontend.OpConversionFailure,
        frontend.OpValidationFailure,
    )


def _sizes(spec: TensorSpec) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in spec.shape]
