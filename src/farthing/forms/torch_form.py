"""The form `torch` on disk: a pickled nn.Module. How it is written, read and run; imports torch, so members import it late."""

import copy
import inspect
import io
import pickle
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import cloudpickle
import numpy as np

from farthing import pipeline as pipelines
from farthing.errors import BuildError, MissingExtra, ModelError
from farthing.forms.probing import outputs_of, resized
from farthing.pipeline import write
from farthing.types import Array, Feeds, Pipeline, TensorSpec

try:
    import torch
except ImportError as error:
    raise MissingExtra("torch", "torch") from error

FILE = "module.pkl"


def snapshot(module: torch.nn.Module, inputs: tuple[TensorSpec, ...], example: Feeds, directory: Path, **text: Any) -> Pipeline:
    """Write `module` and describe its outputs by running it. `text`: tokenizer, max_length, pad_id.

    Raises ModelError where the module cannot be pickled or run, or answers as `outputs_of` forbids.
    """
    try:
        module = _evaluated(module)
        file = save(module, directory)
    except (pickle.PicklingError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelError(
            f"{type(module).__name__} cannot be pickled: {error}. Keep open files, locks and lambdas out of it."
        ) from error
    weights = {p.dtype for p in module.parameters() if p.is_floating_point()}
    traits = frozenset({"float_weights"} if weights <= {torch.float32} else ())
    pipeline = Pipeline(
        directory=directory, form="torch", file=file, inputs=inputs, outputs=(), traits=traits, pickled=True, **text
    )
    session = TorchSession(module, inputs, threads=torch.get_num_threads())
    try:
        outputs = outputs_of(session.run, example, inputs)
        if pipeline.max_length is not None:
            session.run(resized(example, inputs, batch=1, length=pipeline.max_length))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, ModelError):
            raise
        shapes = ", ".join(f"{name} {value.shape}" for name, value in example.items())
        limit = "" if pipeline.max_length is None else f" (or at max_length = {pipeline.max_length})"
        raise ModelError(f"{type(module).__name__} does not run on {shapes}{limit}: {error}") from error
    return write(replace(pipeline, outputs=outputs))


def save(module: torch.nn.Module, directory: Path) -> str:
    """Write `module` below `directory` and name the file. Equal modules give equal bytes, in any process."""
    (directory / FILE).write_bytes(dumps(_evaluated(module)))
    return FILE


def dumps(value: Any) -> bytes:
    """Pickled; equal modules and tensors give equal bytes, in any process."""
    buffer = io.BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


def derive(module: torch.nn.Module, source: Pipeline, directory: Path, traits: frozenset[str]) -> Pipeline:
    """Write the changed `module` of `source` with these traits into `directory`, which need not exist yet."""
    directory.mkdir(parents=True, exist_ok=True)
    return pipelines.derive(source, directory, form="torch", file=save(module, directory), traits=traits)


def load(pipeline: Pipeline) -> Any:
    """The module, in eval mode, without gradients; a fresh copy that the caller may change. Raises ModelError."""
    try:
        with pipeline.path.open("rb") as file:
            module = pickle.load(file)
    except (
        OSError,
        EOFError,
        ImportError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        raise ModelError(f"{pipeline.path} cannot be unpickled here: {error}. Snapshot the model again.") from error
    return module.eval().requires_grad_(False)


def tensors(feeds: Feeds, inputs: Iterable[TensorSpec]) -> tuple[torch.Tensor, ...]:
    """The positional arguments of the module's forward."""
    return tuple(torch.from_numpy(np.ascontiguousarray(feeds[spec.name])) for spec in inputs)


def first(outputs: Any) -> torch.Tensor:
    """The answer that metrics read: forward's output, or the first of several."""
    return outputs[0] if isinstance(outputs, tuple | list) else outputs


def dynamic_shapes(module: torch.nn.Module, pipeline: Pipeline) -> tuple[Any, ...]:
    """What torch.export is told about the axes of `pipeline.inputs`: one entry an argument, `*arguments` being one."""
    dims = {"batch": torch.export.Dim("batch"), "length": torch.export.Dim("length", max=pipeline.max_length)}
    axes = [{i: dims[name] for i, name in enumerate(s.shape) if isinstance(name, str)} for s in pipeline.inputs]
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds[: len(axes)]:
        return tuple(axes)
    num_named = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*axes[:num_named], tuple(axes[num_named:]))


def arrays(outputs: Any) -> list[Array]:
    """What forward returned, as arrays: half precisions are widened to float32. Raises ModelError for anything else."""
    values = outputs if isinstance(outputs, tuple | list) else (outputs,)
    for value in values:
        if not isinstance(value, torch.Tensor):
            raise ModelError(f"forward returned a {type(value).__name__}: return a tensor, or a tuple of tensors")
    return [_widened(value).cpu().numpy() for value in values]


class TorchSession:
    """Runs `call`, a module or its compiled form, under inference mode with `threads` per calling thread."""

    def __init__(
        self, call: Callable[..., Any], inputs: Iterable[TensorSpec], *, threads: int, device_kind: str = "cpu"
    ) -> None:
        self._call, self._inputs, self._threads, self._device = call, tuple(inputs), threads, torch.device(device_kind)
        self._seen = threading.local()

    def run(self, feeds: Feeds) -> list[Array]:
        if not hasattr(self._seen, "threads"):  # OpenMP counts threads per calling thread
            torch.set_num_threads(self._threads)
            self._seen.threads = self._threads
        with torch.inference_mode():
            return arrays(self._call(*(t.to(self._device) for t in tensors(feeds, self._inputs))))

    def close(self) -> None:
        self._call = _closed


def compiled(module: torch.nn.Module, *, dynamic: bool, num_shapes: int) -> Callable[..., Any]:
    """Inductor with frozen weights; it compiles at the first call of each shape, and raises beyond `num_shapes` of them."""
    return torch.compile(module, dynamic=dynamic, recompile_limit=num_shapes, options={"freezing": True})  # type: ignore[no-any-return]


def open_package(pipeline: Pipeline, *, threads: int, streams: int) -> TorchSession:
    """A package of AOTInductor, loaded once for each stream: one copy runs one call at a time."""
    idle: SimpleQueue[Any] = SimpleQueue()
    for _ in range(streams):
        try:
            idle.put(torch._inductor.aoti_load_package(str(pipeline.path)))
        except RuntimeError as error:
            raise BuildError(f"{pipeline.path} cannot be loaded on this processor: {error}") from error

    def call(*arguments: torch.Tensor) -> Any:
        package = idle.get()
        try:
            return package(*arguments)
        finally:
            idle.put(package)

    return TorchSession(call, pipeline.inputs, threads=threads)


def device(kind: str) -> torch.device:
    """Raises BuildError if this torch has no such device."""
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise BuildError(f"this torch ({torch.__version__}) has no device {kind!r}. Install a build that has, or use cpu.")
    return torch.device(kind)


def _evaluated(module: torch.nn.Module) -> torch.nn.Module:
    """In eval mode: itself, or a copy where some part is still in training mode."""
    return copy.deepcopy(module).eval() if any(part.training for part in module.modules()) else module


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """By default a tensor is written with its address and a module's sets in hash order: neither is the same twice."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is torch.Tensor and obj.device.type == "cpu" and obj.layout is torch.strided and obj.is_contiguous():
            return _tensor, (obj.detach().reshape(-1).view(torch.uint8).numpy(), obj.dtype, tuple(obj.shape))
        if isinstance(obj, torch.nn.Module):
            rebuild, args, state, *rest = obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
            if isinstance(state, dict):
                state = {key: _Sorted(value) if type(value) is set else value for key, value in state.items()}
            return rebuild, args, state, *rest
        return super().reducer_override(obj)


class _Sorted:
    def __init__(self, values: set[Any]) -> None:
        self._values = values

    def __reduce__(self) -> Any:
        return set, (sorted(self._values, key=repr),)


def _tensor(raw: Array, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(raw).view(dtype).reshape(shape)


def _widened(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def _closed(*_: Any) -> Any:
    raise AssertionError("this session was closed")
