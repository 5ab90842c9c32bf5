"""The form `torch` on disk: a pickled nn.Module. How it is written, read and run; imports torch, so members import it late."""

import pickle
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from farthing.errors import MissingExtra, ModelError
from farthing.types import Array, Feeds, Pipeline, TensorSpec

try:
    import torch
except ImportError as error:
    raise MissingExtra("torch", "torch") from error

FILE = "module.pkl"


def save(module: torch.nn.Module, directory: Path) -> str:
    """Write `module` below `directory` and name the file. Equal modules give equal bytes, in any process."""
    with (directory / FILE).open("wb") as file:
        _Pickler(file).dump(module)
    return FILE


def load(pipeline: Pipeline) -> Any:
    """The module, in eval mode, without gradients; a fresh copy that the caller may change. Raises ModelError."""
    try:
        with pipeline.path.open("rb") as file:
            module = pickle.load(file)
    except (OSError, EOFError, ImportError, AttributeError, pickle.UnpicklingError) as error:
        raise ModelError(f"{pipeline.path} cannot be unpickled here: {error}. Snapshot the model again.") from error
    return module.eval().requires_grad_(False)


def tensors(feeds: Feeds, inputs: Iterable[TensorSpec]) -> tuple[torch.Tensor, ...]:
    """The positional arguments of the module's forward."""
    return tuple(torch.from_numpy(np.ascontiguousarray(feeds[spec.name])) for spec in inputs)


def arrays(outputs: Any) -> list[Array]:
    """What forward returned, as arrays: half precisions are widened to float32."""
    values = outputs if isinstance(outputs, tuple | list) else (outputs,)
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
